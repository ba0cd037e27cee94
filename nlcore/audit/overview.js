// Which classes are taken for which: a matrix where there are few, and always a list of pairs. Both filter the gallery.
const FIRST_PAIRS = 10;
const UPRIGHT = 40;  // letters that the names of all classes may have together to stand upright over their columns

const pairKey = (given, suggested) => `${given}>${suggested}`;

// onPair(given, suggested) is called when a pair is chosen. Returns { mark(key) }, which shows what is chosen.
function overview(data, onPair) {
  const shown = new Map();
  for (const sample of data.samples) {
    const key = pairKey(sample.given, sample.suggested);
    shown.set(key, (shown.get(key) ?? 0) + 1);
  }
  const buttons = new Map();  // by pair: its button in the list, and in the matrix
  const remember = (key, button) => buttons.set(key, [...(buttons.get(key) ?? []), button]);
  const about = (number) => (number < 1 ? "under 1" : `about ${integer(number)}`);

  const list = document.getElementById("pairs"), most = Math.max(1, ...data.pairs.map((pair) => pair[2]));
  data.pairs.forEach(([given, suggested, number], place) => {
    const key = pairKey(given, suggested), here = shown.get(key) ?? 0;
    const button = make("button", { type: "button", "aria-pressed": "false", onclick: () => onPair(given, suggested) },
      make("span", { class: "pair" }, make("bdi", {}, data.classes[given]),
        make("span", { class: "dim" }, " is probably "), make("bdi", {}, data.classes[suggested])),
      make("span", { class: "count" }, `${about(number)} · ${integer(here)} shown`),
      bar(number / most));
    remember(key, button);
    list.append(make("li", { hidden: place >= FIRST_PAIRS }, button));
  });
  if (!data.pairs.length) list.append(make("li", { class: "dim" }, "No two classes are taken for each other."));

  const more = document.getElementById("more-pairs");
  more.hidden = data.pairs.length <= FIRST_PAIRS;
  more.textContent = `Show all ${data.pairs.length} pairs`;
  more.addEventListener("click", () => {
    for (const item of list.children) item.hidden = false;
    more.hidden = true;
    list.children[FIRST_PAIRS].querySelector("button").focus();
  });
  const left = document.getElementById("pairs-left");
  left.hidden = !data.pairsLeft;
  left.textContent = `${plural(data.pairsLeft, "rarer pair is", "rarer pairs are")} not listed.`;

  if (data.matrix) document.getElementById("matrix").append(matrixOf(data, shown, onPair, remember));
  else document.getElementById("matrix-part").remove();
  return {
    shown,
    mark(chosen) {
      for (const [key, pressed] of buttons) {
        for (const button of pressed) button.setAttribute("aria-pressed", String(key === chosen));
      }
    },
  };
}

function matrixOf(data, shown, onPair, remember) {
  const upright = data.classes.join("").length <= UPRIGHT ? " upright" : "";
  const most = Math.max(1, ...data.matrix.flatMap((row, i) => row.filter((_, j) => i !== j)));
  const head = make("tr", {}, make("td", { class: "corner" }, "true ↓ given →"),
    data.classes.map((name) => make("th", { scope: "col", title: name }, make("span", {}, name))));
  const rows = data.classes.map((name, i) => make("tr", {}, make("th", { scope: "row", title: name }, name),
    data.matrix[i].map((number, j) => cell(number, i, j))));

  function cell(number, i, j) {
    const text = number >= 0.5 ? integer(number) : "·", words = number >= 0.5 ? text : "none";
    if (i === j) return make("td", { class: "right" }, text);
    if (!shown.has(pairKey(j, i))) return shaded(make("td", {}, make("span", { "aria-hidden": "true" }, text),
      make("span", { class: "unseen" }, words)), number);
    // The list of pairs does the same, so that nobody has to tab through the whole table.
    const button = make("button", { type: "button", tabindex: "-1", "aria-pressed": "false",
      class: number >= 0.5 ? "some" : null,
      title: `Given ${data.classes[j]}, probably ${data.classes[i]}`, onclick: () => onPair(j, i) }, text);
    remember(pairKey(j, i), button);
    return shaded(make("td", {}, button), number);
  }
  function shaded(made, number) {
    made.style.setProperty("--share", `${Math.round(60 * Math.sqrt(number / most))}%`);
    return made;
  }
  return make("table", { class: `matrix${upright}` },
    make("caption", {}, "Estimated numbers. On the diagonal labels are right; other cells show their samples."),
    make("thead", {}, head), make("tbody", {}, rows));
}
