// A crowded slide shrinks to fit. What does not fit even then can be scrolled, by keyboard too.
function overflows(part) {
  return part.scrollHeight > part.clientHeight + 1 || part.scrollWidth > part.clientWidth + 1;
}

function fit(slide) {
  const body = slide.querySelector(".body");
  const parts = [body, ...body.querySelectorAll(".wide")];
  for (let size = 100; size >= 55; size -= 5) {
    body.style.fontSize = `${size}%`;
    if (!parts.some(overflows)) break;
  }
  for (const part of parts) {
    const scrolls = overflows(part);
    part.tabIndex = scrolls ? 0 : -1;
    if (scrolls) {
      part.setAttribute("role", "region");
      part.setAttribute("aria-label", `${slide.querySelector("h1, h2").textContent}, scrolls`);
    } else {
      part.removeAttribute("tabindex");
    }
  }
}

const fitCurrent = () => fit(Reveal.getCurrentSlide());
const fitAll = () => document.querySelectorAll(".slides section").forEach(fit);

window.MathJax.startup = {
  pageReady: () => window.MathJax.startup.defaultPageReady().then(fitCurrent),
};

Reveal.on("ready", fitCurrent);
Reveal.on("slidechanged", fitCurrent);
Reveal.on("pdf-ready", fitAll);
Reveal.initialize({
  width: 1280,
  height: 720,
  margin: 0.03,
  center: false,
  display: "flex",
  hash: true,
  transition: "none",
  plugins: [RevealNotes],
  // Arrow keys scroll what has the focus and can be scrolled; elsewhere they turn slides.
  keyboardCondition: (event) => !(event.target.tabIndex === 0 && event.target.closest(".body") && /^(Arrow|Page)/.test(event.key)),
});
