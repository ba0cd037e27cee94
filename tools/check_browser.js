// Runs inside each page, called by check_browser.py.

const nameOf = (element) => element.tagName.toLowerCase() + (element.id && "#" + element.id)
  + [...element.classList].slice(0, 3).map((name) => "." + name).join("");

// The page itself must not scroll sideways; a table or a block of code inside it may.
function sideways(when) {
  const { scrollWidth, clientWidth } = document.scrollingElement;
  if (scrollWidth <= clientWidth) return [];
  const contained = (element) => element && element !== document.body
    && (getComputedStyle(element).overflowX !== "visible" || contained(element.parentElement));
  const wide = [...document.body.querySelectorAll("*")].find(
    (element) => element.getBoundingClientRect().right > clientWidth + 1 && !contained(element.parentElement));
  return [`the page scrolls sideways${when}, ${scrollWidth} px wide: ${wide ? nameOf(wide) : "element not found"}`];
}

// The theme hides what does not fit of a formula within a line.
function cutFormulas() {
  return [...document.querySelectorAll("article span.math mjx-math")]
    .filter((formula) => formula.getBoundingClientRect().right > formula.closest("span.math").getBoundingClientRect().right + 1)
    .map((formula) => `formula is cut off: ${formula.closest("mjx-container").textContent.slice(0, 40)}`);
}

// On a screen neither code that is shown from the beginning nor a table runs out of its box: who does not see the end of a
// line does not know that there is one.
function cutBoxes(selector, what) {
  if (innerWidth < 1280) return [];
  return [...document.querySelectorAll(selector)].filter((box) => box.clientWidth && box.scrollWidth > box.clientWidth + 1)
    .map((box) => `${what} is cut off, ${box.scrollWidth} px in ${box.clientWidth}: ${box.textContent.trim().slice(0, 40)}`);
}

// A chapter is read, not scrolled past: code that is open takes a fifth of the page at most.
function muchCode() {
  const page = document.querySelector("article") ?? document.body, height = (element) => element.getBoundingClientRect().height;
  const open = [...document.querySelectorAll("article .cell:not(.tag_hide-input, .tag_solution, .tag_parameters) > .cell_input")];
  const share = open.reduce((sum, box) => sum + height(box), 0) / height(page);
  return innerWidth >= 1280 && share > 0.2 ? [`open code takes ${(100 * share).toFixed(0)} % of the page`] : [];
}

// Figures have a caption, and letters of 9 points are 9 pixels high at least: a figure is drawn at 110 pixels an inch.
function figures() {
  const drawn = [...document.querySelectorAll("article .cell_output img")].filter((image) => image.naturalWidth > 1);
  const short = (image) => `${(image.alt || nameOf(image)).slice(0, 40)}`;
  return [
    ...drawn.filter((image) => !image.closest("figure")?.querySelector("figcaption"))
      .map((image) => `figure without a caption: ${short(image)}`),
    ...drawn.filter((image) => image.clientWidth && image.clientWidth < 0.98 * image.naturalWidth * 72 / 110)
      .map((image) => `letters below 9 px, ${image.clientWidth} px for ${image.naturalWidth}: ${short(image)}`),
  ];
}

// Until nothing has changed for half a second, for scripts answer with a delay; ten at most, for some play films.
function quiet() {
  return new Promise((done) => {
    let last = setTimeout(done, 500);
    setTimeout(done, 10_000);
    new MutationObserver(() => {
      clearTimeout(last);
      last = setTimeout(done, 500);
    }).observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
  });
}

// Solutions, hidden cells: what a reader can open is read too.
async function openAll() {
  document.head.insertAdjacentHTML("beforeend", "<style>* { transition: none !important; animation: none !important }</style>");
  document.querySelectorAll("article button.toggle-button[aria-expanded=false]").forEach((button) => button.click());
  await Promise.all([...document.querySelectorAll("details:not([open])")].map((details) => new Promise((done) => {
    details.addEventListener("toggle", done, { once: true });
    details.open = true;
  })));
  await quiet();
}

async function pictures() {
  const images = [...document.images];
  for (const image of images) image.loading = "eager";
  await Promise.all(images.map((image) => image.complete || new Promise((done) => {
    image.addEventListener("load", done);
    image.addEventListener("error", done);
  })));
  const lost = images.filter((image) => !image.naturalWidth).map((image) => `image does not show: ${image.getAttribute("src")}`);
  const silent = [...document.querySelectorAll("article :is(img, svg, canvas)")].filter((picture) =>
    !picture.closest("[aria-hidden=true], [role=presentation], [role=none], [role=img][aria-label], button, a, svg svg")
    && !(picture.getAttribute("alt") || picture.getAttribute("aria-label") || picture.getAttribute("aria-labelledby")
      || picture.querySelector(":scope > title")));
  return [...lost, ...silent.map((picture) => `picture without words: ${(picture.getAttribute("src") || nameOf(picture)).slice(0, 80)}`)];
}

// Measuring contrast is slow, and the thousands of words in blocks of code look alike: one element for each look is enough.
function markLooks(root) {
  const grounds = new Map();
  const ground = (element) => {
    if (!element) return "";
    if (!grounds.has(element)) {
      const style = getComputedStyle(element);
      const own = [style.backgroundColor, style.backgroundImage, style.opacity, style.filter, style.mixBlendMode].join();
      // What stands outside the flow may lie on anything.
      const place = /absolute|fixed|sticky/.test(style.position) ? grounds.size : "";
      const above = ground(element.parentElement);
      grounds.set(element, own === "rgba(0, 0, 0, 0),none,1,none,normal" ? above + place : `${above}/${own}${place}`);
    }
    return grounds.get(element);
  };
  const first = new Map();
  const see = (element) => {
    if (!element.checkVisibility({ visibilityProperty: true, opacityProperty: true })) return;
    const style = getComputedStyle(element);
    // Code that is scrolled out of its box cannot be measured, and must not speak for what can.
    const inside = element.getBoundingClientRect().right <= root.getBoundingClientRect().right;
    const look = [style.color, style.fontSize, style.fontWeight, style.textShadow, inside, ground(element)].join();
    if (!first.has(look)) first.set(look, element);
  };
  const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) if (texts.currentNode.data.trim()) see(texts.currentNode.parentElement);
  root.querySelectorAll("input, select, textarea").forEach(see);
  first.forEach((element) => element.setAttribute("data-look", ""));
}

async function accessibility() {
  const root = document.querySelector("article") || document.querySelector("main") || document.body;
  markLooks(root);
  axe.configure({ rules: [{ id: "color-contrast", selector: "[data-look]" }] });
  const { violations } = await axe.run(root, {
    preload: false,
    resultTypes: ["violations"],
    runOnly: { type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"] },
  });
  return violations.map(({ id, nodes }) => {
    const [check] = [...nodes[0].any, ...nodes[0].all, ...nodes[0].none];
    return [id, nodes.length, `${nodes[0].target.join(" ")}: ${check?.message ?? nodes[0].failureSummary}`];
  });
}

// What is wrong with the page as it stands on the screen, and what it links to.
async function look() {
  await window.MathJax?.startup?.promise;
  await document.fonts.ready;
  const problems = [...sideways(""), ...cutBoxes("article .cell_input pre", "code"), ...muchCode()];
  await openAll();
  problems.push(...await pictures());
  if (!problems.length) problems.push(...sideways(" once everything is open"));
  problems.push(...cutFormulas(), ...cutBoxes("article :is(.output, .pst-scrollable-table-container):has(table)", "a table"), ...figures());
  return {
    problems,
    violations: await accessibility(),
    links: [...document.querySelectorAll("a[href]")].map((link) => link.getAttribute("href")),
    ids: [...document.querySelectorAll("[id], a[name]")].map((element) => element.id || element.name),
  };
}

// The rest is for those who use the keyboard alone.
function inView(element) {
  const { top, bottom } = element?.getBoundingClientRect() ?? { top: -1, bottom: -1 };
  return bottom > 0 && top >= 0 && top < innerHeight;
}

function namesOf(id) {
  return [id, document.getElementById(id)?.closest("section")?.id].filter(Boolean);
}

// Whether the focus can be told from its absence by looking.
function focusShows() {
  document.head.insertAdjacentHTML("beforeend", "<style>* { transition: none !important }</style>");
  const element = document.activeElement;
  const appearance = () => {
    const { outline, outlineStyle, boxShadow, border, backgroundColor, color, textDecoration, opacity } = getComputedStyle(element);
    return [outlineStyle === "none" || outline, boxShadow, border, backgroundColor, color, textDecoration, opacity].join();
  };
  const focused = appearance();
  element.blur();
  const plain = appearance();
  element.focus({ focusVisible: true });
  return focused !== plain;
}

// Whether the solution whose button has the focus can be seen, and says so to those who cannot see it.
function isOpen() {
  const button = document.activeElement;
  const parts = [...button.closest(".solution").querySelectorAll("*")].filter((part) => !part.closest(".admonition-title, summary"));
  const shown = parts.some((part) => part.checkVisibility({ visibilityProperty: true, opacityProperty: true }));
  return shown && (button.getAttribute("aria-expanded") === "true" || button.parentElement.open === true);
}

window.reader = { look, inView, namesOf, focusShows, isOpen };
