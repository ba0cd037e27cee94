// Figures that answer: two bells and a threshold, MixUp's weight, an epoch or an anchor's place to choose. A page asks for one with
// <div class="interactive" data-figure="bells"></div>; without a script its text, which says the same in words, stays.

const svgTag = (name, attributes, ...children) => {
  const tag = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) tag.setAttribute(key, value);
  tag.append(...children);
  return tag;
};

// A labelled slider; `show` gives its value in words.
function slider(form, label, [low, high, step, value], show, onInput) {
  const row = document.createElement("label");
  const input = Object.assign(document.createElement("input"), { type: "range", min: low, max: high, step, value });
  const said = document.createElement("output");
  const update = () => { said.textContent = show(Number(input.value)); };
  input.addEventListener("input", () => { update(); onInput(); });
  row.append(label, input, said);
  form.append(row);
  update();
  return { get value() { return Number(input.value); } };
}

function frame(box, title, height = 230) {
  const form = document.createElement("div"), words = document.createElement("p");
  form.className = "interactive-form";
  words.className = "interactive-words";
  words.setAttribute("role", "status");
  const drawing = svgTag("svg", { viewBox: `0 0 640 ${height}`, role: "img", "aria-label": title });
  box.replaceChildren(drawing, form, words);
  return { form, words, drawing };
}

const percent = (share) => `${(100 * share).toFixed(0)} %`;

// The share of a Gaussian below a value, by the logistic curve nearest to it.
const below = (z) => 1 / (1 + Math.exp(-1.702 * z));

// Two groups of losses: how many are wrong, how far apart they lie, and the posterior from which a label is called clean.
function bells(box) {
  const { form, words, drawing } = frame(box, "Two bell curves of losses, clean labels on the left and wrong ones on the right, and a threshold");
  const draw = () => {
    const share = wrong.value, gap = distance.value, tau = threshold.value;
    const clean = (x) => (1 - share) * Math.exp(-x * x / 2), noisy = (x) => share * Math.exp(-((x - gap) ** 2) / 2);
    // With equal widths the posterior falls with the loss, and crosses tau once.
    const cut = (Math.log((1 - share) / share) + gap * gap / 2 - Math.log(tau / (1 - tau))) / gap;
    const kept = below(cut), let_in = below(cut - gap);
    const selected = (1 - share) * kept + share * let_in;
    const x = (loss) => 40 + (loss + 3) * 560 / 10, y = (height) => 200 - 180 * height;
    const curve = (density) => Array.from({ length: 141 }, (_, k) => k * 10 / 140 - 3)
      .map((loss, k) => `${k ? "L" : "M"}${x(loss).toFixed(1)},${y(density(loss)).toFixed(1)}`).join("");
    const place = Math.max(40, Math.min(600, x(cut)));
    drawing.replaceChildren(
      svgTag("path", { d: curve(clean), class: "clean" }), svgTag("path", { d: curve(noisy), class: "wrong" }),
      svgTag("line", { x1: place, x2: place, y1: 10, y2: 200, class: "cut" }),
      svgTag("line", { x1: 40, x2: 600, y1: 200, y2: 200, class: "axis" }),
      svgTag("text", { x: 320, y: 222, class: "small" }, "loss"),
      svgTag("text", { x: x(0), y: y(1 - share) - 6, class: "small" }, "clean"),
      svgTag("text", { x: x(gap), y: y(share) - 6, class: "small" }, "wrong"),
    );
    words.textContent = `Left of the line, ${percent(selected)} of the labels are called clean. `
      + `${percent(selected > 0 ? (1 - share) * kept / selected : 0)} of them are (precision), and they are ${percent(kept)} of all clean ones (recall).`;
  };
  const wrong = slider(form, "Wrong labels", [0.05, 0.7, 0.05, 0.4], percent, () => draw());
  const distance = slider(form, "Distance of the bells", [0.5, 5, 0.1, 2.5], (value) => `${value.toFixed(1)} widths`, () => draw());
  const threshold = slider(form, "Threshold of the posterior", [0.05, 0.95, 0.05, 0.5], (value) => value.toFixed(2), () => draw());
  draw();
}

// What two labels become when their images are mixed, and what the weight's distribution looks like.
function mixup(box) {
  const { form, words, drawing } = frame(box, "Two bars: the shares of two classes in the target of a mixed image");
  const draw = () => {
    const first = weight.value, bar = (share, k, name) => [
      svgTag("rect", { x: 150, y: 40 + 80 * k, width: 440 * share, height: 50, class: k ? "wrong" : "clean" }),
      svgTag("text", { x: 140, y: 72 + 80 * k, class: "end" }, name),
      svgTag("text", { x: 158 + 440 * share, y: 72 + 80 * k }, percent(share)),
    ];
    drawing.replaceChildren(...bar(first, 0, "first label"), ...bar(1 - first, 1, "second label"));
    words.textContent = `The image is ${percent(first)} of the first and ${percent(1 - first)} of the second, and so is the target. `
      + `If the first label is wrong, the mixed sample still pulls with weight ${first.toFixed(2)} instead of 1 towards the mistake.`;
  };
  const weight = slider(form, "Weight of the first image", [0, 1, 0.05, 0.7], (value) => value.toFixed(2), () => draw());
  draw();
}

// Curves over epochs, from data-curves = {"name": [values in per cent]}: choose an epoch and read them off.
function epochs(box) {
  const curves = JSON.parse(box.dataset.curves), names = Object.keys(curves), length = curves[names[0]].length;
  const { form, words, drawing } = frame(box, `Curves over epochs: ${names.join(", ")}`, 260);
  const kinds = ["clean", "wrong", "test"], x = (k) => 50 + (length > 1 ? k * 540 / (length - 1) : 0), y = (value) => 200 - 1.8 * value;
  const draw = () => {
    const now = epoch.value - 1;
    drawing.replaceChildren(
      ...names.map((name, k) => svgTag("path", { class: kinds[k % 3], d: curves[name].map((value, n) => `${n ? "L" : "M"}${x(n).toFixed(1)},${y(value).toFixed(1)}`).join("") })),
      ...names.map((name, k) => svgTag("circle", { class: kinds[k % 3], cx: x(now), cy: y(curves[name][now]), r: 5 })),
      svgTag("line", { x1: x(now), x2: x(now), y1: 15, y2: 200, class: "cut" }),
      svgTag("line", { x1: 50, x2: 590, y1: 200, y2: 200, class: "axis" }),
      svgTag("text", { x: 40, y: 26, class: "end small" }, "100"), svgTag("text", { x: 40, y: 203, class: "end small" }, "0"),
      svgTag("text", { x: 320, y: 222, class: "small" }, "epoch"),
      ...names.flatMap((name, k) => [
        svgTag("path", { class: kinds[k % 3], d: `M${20 + 210 * k},246h34` }), svgTag("text", { x: 60 + 210 * k, y: 252 }, name),
      ]),
    );
    words.textContent = `After epoch ${now + 1}: ` + names.map((name) => `${name} ${curves[name][now].toFixed(0)} %`).join(", ") + ".";
  };
  const epoch = slider(form, "Epoch", [1, length, 1, 1], (value) => String(value), () => draw());
  draw();
}

// Where anchors were found between their two parents, from data-values = [lambda, ...] and
// data-places = {"a loss": [cosine to the first parent less that to the second, for each lambda]}.
function between(box) {
  const values = JSON.parse(box.dataset.values), places = JSON.parse(box.dataset.places), names = Object.keys(places);
  const { form, words, drawing } = frame(box, `Places between two parents: ${names.join(", ")}`, 90 + 50 * names.length);
  const x = (place) => 390 + 190 * Math.max(-1, Math.min(1, place)), foot = 40 + 50 * names.length;
  const draw = () => {
    const place = (name) => places[name][asked.value];
    drawing.replaceChildren(
      ...[["second parent", -1], ["midway", 0], ["first parent", 1]].flatMap(([name, at]) => [
        svgTag("line", { x1: x(at), x2: x(at), y1: 15, y2: foot, class: at ? "axis" : "cut" }),
        svgTag("text", { x: x(at), y: foot + 24, class: "small" }, name),
      ]),
      ...names.flatMap((name, k) => [
        svgTag("text", { x: 180, y: 51 + 50 * k, class: "end" }, name),
        svgTag("circle", { class: ["wrong", "clean", "test"][k % 3], cx: x(place(name)), cy: 45 + 50 * k, r: 9 }),
      ]),
    );
    words.textContent = `At ${values[asked.value]}, the cosine to the first parent less that to the second: `
      + names.map((name) => `${name} ${place(name).toFixed(2)}`).join(", ") + ".";
  };
  const asked = slider(form, "What the loss asks for (lambda)", [0, values.length - 1, 1, 0], (value) => String(values[value]), () => draw());
  draw();
}

document.addEventListener("DOMContentLoaded", () => {
  const figures = { bells, mixup, epochs, between };
  document.querySelectorAll(".interactive").forEach((box) => figures[box.dataset.figure](box));
});
