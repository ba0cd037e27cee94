// What an explorer shows: the data unpacked, the map drawn, the decisions in words. `root` is its element, which holds
// the data as JSON (see page.py). Bytes stand for classes, sets and positions; 255 is "none". A method's bytes lie
// epoch by epoch. What the reader does is in input.js, which gets what it needs from here.
function view(root) {
  "use strict";
  const NONE = 255, TOP = 254;
  const data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const count = data.samples.length;
  const given = bytes(data.given), truth = data.true === null ? null : bytes(data.true);
  const methods = data.methods.map((method) => {
    const unpacked = { ...method };
    for (const part of ["membership", "clean", "target", "across", "up"]) unpacked[part] = bytes(method[part]);
    return unpacked;
  });
  const name = (label) => (label === NONE ? "none of the classes" : data.classes[label]);
  const isRight = (i) => given[i] === truth[i];
  const setOf = (m, e, i) => methods[m].membership[e * count + i];
  const isTrained = (m, e, i) => setOf(m, e, i) === NONE || methods[m].labelled[setOf(m, e, i)];
  const targetOf = (m, e, i) => methods[m].target[e * count + i];
  const calm = matchMedia("(prefers-reduced-motion: reduce)");

  // What is shown. The first division is where there is most to see.
  const divided = methods[0].membership.findIndex((set) => set !== NONE);
  const begin = divided < 0 ? 0 : Math.floor(divided / count);
  const now = { method: 0, epoch: begin, sample: 0, pinned: false, visible: [] };
  let places = new Float32Array(2 * count), frame = 0;

  // Without JavaScript the controls stay hidden: there is nothing that does not work.
  root.querySelector(".nlx-wait").remove();
  root.querySelector(".nlx-page").hidden = false;
  const ui = {};
  for (const part of root.querySelectorAll("[data-is]")) ui[part.dataset.is] = part;
  ui.map.setAttribute("aria-label", `Map of ${count} training samples: ${data.axes[0].label} across, `
    + `${data.axes[1].label} up. Arrow keys go to the nearest sample, Page Up and Page Down to another epoch, `
    + "Home and End to the first and the last, Space plays, Escape lets a sample go.");
  ui.epoch.max = data.epochs;
  ui.epoch.value = now.epoch + 1;

  // Texts go in as text, never as markup: a class may be called anything.
  function element(tag, text, parent, attributes = {}) {
    const made = Object.assign(document.createElement(tag), attributes);
    made.textContent = text;
    parent.append(made);
    return made;
  }
  methods.forEach((method, m) => element("option", method.title, ui.method, { value: m }));

  // --- filters -------------------------------------------------------------------------------------------------------

  const filters = { all: ["all samples", () => true] };
  if (truth) {
    Object.assign(filters, {
      right: ["right labels", (i) => isRight(i)],
      wrong: ["wrong labels", (i) => !isRight(i)],
      kept: ["trained with a wrong label",
        (i) => isTrained(now.method, now.epoch, i) && targetOf(now.method, now.epoch, i) !== truth[i]],
      dropped: ["right label dropped", (i) => !isTrained(now.method, now.epoch, i) && isRight(i)],
    });
  }
  if (methods.length > 1) {
    filters.differ = ["methods disagree on training",
      (i) => methods.some((_, m) => isTrained(m, now.epoch, i) !== isTrained(0, now.epoch, i))];
  }
  function fillFilters() {
    const chosen = ui.show.value;
    ui.show.replaceChildren();
    for (const [key, [text]] of Object.entries(filters)) element("option", text, ui.show, { value: key });
    methods[now.method].sets.forEach((set, s) => element("option", `set: ${set}`, ui.show, { value: String(s) }));
    ui.show.value = chosen in filters ? chosen : "all";  // another method has other sets
  }
  function applyFilter() {
    const key = ui.show.value;
    const passes = key in filters ? filters[key][1] : (i) => setOf(now.method, now.epoch, i) === Number(key);
    now.visible = [...Array(count).keys()].filter(passes);
    ui.status.textContent = `Epoch ${now.epoch + 1}: ${now.visible.length} of ${count} samples shown.`;
  }

  // --- drawing -------------------------------------------------------------------------------------------------------

  const edge = { left: 52, right: 12, top: 10, bottom: 44 };
  let width = 0, height = 0, colours = {};
  const toX = (share) => edge.left + share * (width - edge.left - edge.right);
  const toY = (share) => height - edge.bottom - share * (height - edge.top - edge.bottom);
  const goal = (i, axis, e = now.epoch) => methods[now.method][axis][e * count + i] / TOP;
  const at = (i, e = now.epoch) => [toX(goal(i, "across", e)), toY(goal(i, "up", e))];  // in pixels of the map

  function readColours() {
    const style = getComputedStyle(root);
    for (const key of ["text", "muted", "faint", "right", "wrong", "unknown", "ground"]) {
      colours[key] = style.getPropertyValue(`--nlx-${key}`).trim();
    }
  }
  // Shape and colour say whether a label is right, the filling says the set: no difference is told by colour alone.
  const kindOf = (i) => (!truth ? "unknown" : isRight(i) ? "right" : "wrong");
  function fillingOf(m, s) {
    if (s === NONE) return "full";
    const second = methods[m].labelled.indexOf(methods[m].labelled[s]) !== s;
    return methods[m].labelled[s] ? (second ? "ringed" : "full") : (second ? "dotted" : "hollow");
  }
  function mark(pen, x, y, r, kind, filling) {
    pen.beginPath();
    if (kind === "right") pen.arc(x, y, r, 0, 2 * Math.PI);
    else if (kind === "unknown") pen.rect(x - r, y - r, 2 * r, 2 * r);
    else for (const [dx, dy] of [[0, -1.3], [1.2, 0.9], [-1.2, 0.9]]) pen.lineTo(x + dx * r, y + dy * r);
    pen.closePath();
    pen.fillStyle = pen.strokeStyle = colours[kind];
    pen.lineWidth = 1.4;
    if (filling === "full" || filling === "ringed") pen.fill();
    if (filling === "ringed") pen.strokeStyle = colours.text;
    if (filling !== "full") pen.stroke();
    if (filling === "dotted") pen.fillRect(x - 1, y - 1, 2, 2);
  }
  // A canvas is as sharp as the screen, whatever its size on the page.
  function pencil(canvas, w, h) {
    const scale = devicePixelRatio || 1;
    canvas.width = Math.round(w * scale);
    canvas.height = Math.round(h * scale);
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    return pen;
  }
  function draw() {
    width = ui.map.clientWidth;
    height = ui.map.clientHeight;
    if (!width) return;
    const pen = pencil(ui.map, width, height), r = width < 500 ? 3.2 : 4;
    pen.font = "12px system-ui, sans-serif";
    pen.fillStyle = colours.text;
    pen.strokeStyle = colours.faint;
    pen.textAlign = "center";
    for (const [share, text] of data.axes[0].ticks) {
      pen.strokeRect(toX(share), toY(1), 0, toY(0) - toY(1));
      pen.fillText(text, toX(share), toY(0) + 16);
    }
    pen.fillText(data.axes[0].label + " →", toX(0.5), height - 8);
    pen.textAlign = "right";
    for (const [share, text] of data.axes[1].ticks) {
      pen.strokeRect(toX(0), toY(share), toX(1) - toX(0), 0);
      pen.fillText(text, edge.left - 6, toY(share) + 4);
    }
    pen.save();
    pen.translate(13, toY(0.5));
    pen.rotate(-Math.PI / 2);
    pen.textAlign = "center";
    pen.fillText(data.axes[1].label + " →", 0, 0);
    pen.restore();

    pen.fillStyle = colours.muted;
    pen.globalAlpha = 0.35;
    for (let i = 0; i < count; i++) pen.fillRect(toX(places[2 * i]) - 1, toY(places[2 * i + 1]) - 1, 2, 2);
    pen.globalAlpha = 0.85;
    const put = (i, r) => mark(pen, toX(places[2 * i]), toY(places[2 * i + 1]), r, kindOf(i),
      fillingOf(now.method, setOf(now.method, now.epoch, i)));
    for (const i of now.visible) put(i, r);
    pen.globalAlpha = 1;
    pen.strokeStyle = pen.fillStyle = colours.text;
    pen.lineWidth = 1;
    pen.beginPath();  // where the chosen sample has been, up to this epoch
    for (let e = 0; e <= now.epoch; e++) pen.lineTo(...at(now.sample, e));
    pen.stroke();
    put(now.sample, r + 2);
    pen.strokeStyle = colours.text;
    pen.lineWidth = now.pinned ? 3 : 1.5;
    pen.beginPath();
    pen.arc(toX(places[2 * now.sample]), toY(places[2 * now.sample + 1]), r + 7, 0, 2 * Math.PI);
    pen.stroke();
  }
  // Points glide to where the new epoch puts them, unless the reader's system asks for no motion.
  function move(gliding) {
    const before = places.slice(), began = performance.now();
    cancelAnimationFrame(frame);
    (function step(time) {
      const share = gliding && !calm.matches ? Math.min(1, Math.max(0, (time - began) / 350)) : 1;
      for (let i = 0; i < count; i++) {
        places[2 * i] = before[2 * i] + share * (goal(i, "across") - before[2 * i]);
        places[2 * i + 1] = before[2 * i + 1] + share * (goal(i, "up") - before[2 * i + 1]);
      }
      draw();
      if (share < 1) frame = requestAnimationFrame(step);
    })(began);
  }

  // --- words ---------------------------------------------------------------------------------------------------------

  const sprite = new Image();
  sprite.onload = drawImage;
  sprite.src = data.sprite.src;
  function drawImage() {
    const { columns, width: w, height: h } = data.sprite, i = now.sample;
    const zoom = Math.max(1, Math.round(160 / Math.max(w, h))), pen = ui.image.getContext("2d");
    ui.image.width = zoom * w;
    ui.image.height = zoom * h;
    pen.imageSmoothingEnabled = false;  // pixels as they are
    pen.drawImage(sprite, (i % columns) * w, Math.floor(i / columns) * h, w, h, 0, 0, zoom * w, zoom * h);
    ui.image.setAttribute("aria-label", `Image of sample ${data.samples[i]}`);
  }
  function setWords(m, e, i) {
    const set = setOf(m, e, i), target = targetOf(m, e, i);
    if (set === NONE) return "warm-up";
    return methods[m].sets[set] + (target === given[i] ? "" : ` to ${name(target)}`);
  }
  function verdict(m, e, i) {
    if (setOf(m, e, i) === NONE) return "warm-up, not divided yet";
    const trained = !isTrained(m, e, i) ? "label dropped"
      : truth ? `trained with a ${targetOf(m, e, i) === truth[i] ? "right" : "wrong"} label` : "trained with its label";
    return `${setWords(m, e, i)}; clean probability ${(methods[m].clean[e * count + i] / TOP).toFixed(2)}; ${trained}`;
  }
  // "1 to 9 warm-up, 10 uncertain, 11 to 30 positive"
  function path(m, i) {
    const parts = [];
    for (let e = 0, from = 0; e < data.epochs; e++) {
      if (e + 1 < data.epochs && setWords(m, e + 1, i) === setWords(m, e, i)) continue;
      parts.push(`${from + 1}${e > from ? ` to ${e + 1}` : ""} ${setWords(m, e, i)}`);
      from = e + 1;
    }
    return parts.join(", ");
  }
  function describe() {
    const i = now.sample;
    ui.sample.value = data.samples[i];
    ui.details.replaceChildren();
    const title = `Sample ${data.samples[i]}, epoch ${now.epoch + 1}${now.pinned ? ", pinned" : ""}`;
    element("p", title, ui.details, { className: "nlx-title" });
    const list = element("dl", "", ui.details);
    const judged = truth ? `${name(truth[i])}: the given one is ${isRight(i) ? "right" : "wrong"}` : "not known";
    const facts = [["Given label", name(given[i])], ["True label", judged]];
    methods.forEach((method, m) => facts.push([method.title, verdict(m, now.epoch, i)]));
    for (const [term, text] of facts) element("dt", term, list), element("dd", text, list);
    ui.paths.replaceChildren();
    methods.forEach((method, m) => element("p", `${method.title}, by epoch: ${path(m, i)}.`, ui.paths));
    if (sprite.complete) drawImage();
  }
  function legend() {
    ui.legend.replaceChildren();
    const entry = (kinds, filling, text) => {
      const item = element("li", "", ui.legend), canvas = element("canvas", "", item);
      canvas.setAttribute("aria-hidden", "true");
      canvas.style.width = `${16 * kinds.length}px`;
      const pen = pencil(canvas, 16 * kinds.length, 16);
      kinds.forEach((kind, k) => mark(pen, 16 * k + 8, 8, 5, kind, filling));
      element("span", text, item);
    };
    if (truth) entry(["right"], "full", "right label"), entry(["wrong"], "full", "wrong label");
    if (setOf(now.method, now.epoch, 0) === NONE) return;
    methods[now.method].sets.forEach((set, s) => {
      const members = [...Array(count).keys()].filter((i) => setOf(now.method, now.epoch, i) === s);
      let text = `${set}: ${members.length}`;
      if (truth) text += `, given label wrong in ${members.filter((i) => !isRight(i)).length}`;
      const target = (i) => targetOf(now.method, now.epoch, i);
      if (truth && members.some((i) => target(i) !== given[i])) {
        text += `, label used wrong in ${members.filter((i) => target(i) !== truth[i]).length}`;
      }
      entry(truth ? ["right", "wrong"] : ["unknown"], fillingOf(now.method, s), text);
    });
  }

  // --- everything at once --------------------------------------------------------------------------------------------

  function refresh(gliding = false) {
    const warmUp = setOf(now.method, now.epoch, 0) === NONE ? ", warm-up" : "";
    ui.epochText.textContent = `Epoch ${now.epoch + 1} of ${data.epochs}${warmUp}`;
    ui.epoch.setAttribute("aria-valuetext", ui.epochText.textContent);
    applyFilter();
    legend();
    describe();
    move(gliding);
  }
  const repaint = () => (readColours(), legend(), draw());
  new ResizeObserver(draw).observe(ui.map);
  for (const page of [document.documentElement, document.body]) {  // the page turns dark or light
    new MutationObserver(repaint).observe(page, { attributeFilter: ["data-theme", "data-jp-theme-light"] });
  }
  readColours();
  fillFilters();
  applyFilter();
  now.sample = (truth && now.visible.find((i) => !isRight(i))) ?? 0;
  refresh();
  return { data, now, ui, at, fillFilters, refresh, describe, draw };
}
