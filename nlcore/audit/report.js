// The report in motion: what is in focus, what passes the filters, what the keys do, and what the decisions add up to.
const NEXT = 20;
const data = JSON.parse(document.getElementById("data").textContent);
const ui = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));
const store = makeStore(data, browserStorage());
const now = { pair: "", list: [], current: data.samples.length ? 0 : null, saved: true };

const view = gallery(data, store, (i) => go(i));
const pairs = overview(data, (given, suggested) => {
  const key = pairKey(given, suggested);
  choosePair(now.pair === key ? "" : key);
  ui.review.scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
});
const other = choice(data, (label) => decide("other", label));

// --- filters ---------------------------------------------------------------------------------------------------------

for (const [given, suggested] of data.pairs) {
  const key = pairKey(given, suggested), here = pairs.shown.get(key);
  const text = `${data.classes[given]} → ${data.classes[suggested]} (${here})`;
  if (here) ui.pair.append(make("option", { value: key }, text));
}
const open = (i) => !store.get(data.samples[i].row);
const passes = (i) => now.pair === "" || now.pair === pairKey(data.samples[i].given, data.samples[i].suggested);

function choosePair(key) {
  if (key !== "" && !pairs.shown.has(key)) {
    say("No sample of this pair is on this page.");
    return;
  }
  now.pair = ui.pair.value = key;
  refilter();
}
// A sample in focus stays there while it passes; one that was just decided stays until the next one is asked for.
function refilter() {
  now.list = [...data.samples.keys()].filter((i) => passes(i) && (!ui.undecided.checked || open(i)));
  if (!now.list.includes(now.current)) now.current = now.list[0] ?? null;
  show();
}
ui.pair.addEventListener("change", () => choosePair(ui.pair.value));
ui.undecided.addEventListener("change", refilter);

// --- going and deciding ----------------------------------------------------------------------------------------------

function go(i) {
  if (i === undefined || i === null) return;
  now.current = i;
  show();
}
function step(by) {
  const place = now.list.indexOf(now.current) + by;
  if (place < 0 || place >= now.list.length) say(by < 0 ? "This is the first sample." : "This is the last sample.");
  else go(now.list[place]);
}
function decide(decision, label) {
  if (now.current === null) return;
  const sample = data.samples[now.current];
  const given = data.classes[sample.given], suggested = data.classes[sample.suggested];
  if (decision === "accept") label = suggested;
  if (decision === "keep" || decision === "unsure") label = given;
  if (decision !== "unsure") decision = label === given ? "keep" : label === suggested ? "accept" : "other";
  store.set([{ row: sample.row, name: sample.name, given_label: given, decision, label }]);
  now.saved = false;

  const after = now.list.slice(now.list.indexOf(now.current) + 1).find(open) ?? now.list.find(open);
  if (after !== undefined) now.current = after;
  else if (ui.undecided.checked) now.current = null;
  const end = after === undefined ? " All of this selection are decided." : "";
  say(`${sample.name}: ${decision === "unsure" ? "unsure" : `${decision}, ${label}`}.${end}`);
  refilter();
}
function undo() {
  const row = store.undo();
  if (row === null) return say("There is nothing to undo.");
  now.saved = false;
  say(`Undone: row ${row}.`);
  const i = data.samples.findIndex((sample) => sample.row === row);
  if (i >= 0 && !passes(i)) now.pair = ui.pair.value = "";  // it has to be seen
  if (i >= 0) now.current = i;
  refilter();
}
const actions = {
  keep: () => decide("keep"),
  accept: () => !ui.accept.disabled && decide("accept"),
  other: () => now.current !== null && other.open(data.samples[now.current]),
  unsure: () => decide("unsure"),
  undo,
  previous: () => step(-1),
  next: () => step(1),
};
for (const [name, act] of Object.entries(actions)) ui[name].addEventListener("click", act);

const TYPING = "input:not([type='checkbox']), select";  // keys there mean something else
const KEYS = { g: "keep", a: "accept", o: "other", u: "unsure", z: "undo", k: "previous", j: "next",
  ArrowLeft: "previous", ArrowRight: "next" };
document.addEventListener("keydown", (event) => {
  const name = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key], at = event.target;
  if (!name || !ui.keys.checked || event.ctrlKey || event.altKey || event.metaKey || ui.choice.open) return;
  if (at.closest(event.key.startsWith("Arrow") ? `${TYPING}, .scroll` : TYPING)) return;
  event.preventDefault();
  if (!ui[name].disabled) actions[name]();
});

// --- the file --------------------------------------------------------------------------------------------------------

ui.save.addEventListener("click", () => {
  const address = URL.createObjectURL(new Blob([toCsv(store.records())], { type: "text/csv;charset=utf-8" }));
  make("a", { href: address, download: "decisions.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
  now.saved = true;
  say(`Saved ${plural(store.records().length, "decision", "decisions")} as decisions.csv.`);
});
ui.load.addEventListener("click", () => ui.file.click());
ui.file.addEventListener("change", async () => {
  const [file] = ui.file.files;
  ui.file.value = "";  // the same file can be chosen again
  if (!file) return;
  try {
    const records = checked(fromCsv(decoded(new Uint8Array(await file.arrayBuffer()))), data);
    store.set(records);
    say(`Loaded ${plural(records.length, "decision", "decisions")} from ${file.name}.`);
    refilter();
  } catch (error) {
    say(`${file.name} was not loaded: ${error.message}.`);
  }
});
window.addEventListener("storage", (event) => store.changedElsewhere(event) && refilter());
window.addEventListener("beforeunload", (event) => !store.kept && !now.saved && event.preventDefault());

// --- words -----------------------------------------------------------------------------------------------------------

function say(text) {
  ui.status.textContent = text;
}
function finding(sample) {
  const record = store.get(sample.row);
  if (!record) return null;
  if (record.decision === "unsure") return UNSURE;
  return record.label === record.given_label ? RIGHT : WRONG;
}
function showEstimate() {
  const found = forecast(data.samples.map((s) => 1 - s.quality), data.samples.map(finding), now.list, NEXT);
  const unsure = found.unsure ? ` You were unsure of ${integer(found.unsure)}.` : "";
  const parts = [];
  if (found.looked) {
    const were = (number) => `${integer(number)} ${Math.round(number) === 1 ? "was" : "were"}`;
    parts.push(`You judged ${plural(found.looked, "label", "labels")}: ${were(found.wrong)} wrong, `
      + `${were(found.promised)} promised.${unsure}`);
  } else parts.push(`You have not judged a label yet; these are the audit's own promises.${unsure}`);
  if (found.left) {
    parts.push(`Not yet seen on this page: ${integer(found.left)}, of them about ${integer(found.leftWrong)} wrong `
      + `(roughly ${integer(found.low)} to ${integer(found.high)}).`);
    const coming = `Among the next ${integer(found.next)} of this selection: about ${integer(found.nextWrong)} wrong.`;
    if (found.next) parts.push(coming);
    parts.push(found.worth ? `Worth a look, at least ${percent(WORTH)} likely to be wrong: ${integer(found.worth)}.`
      : `None of them is ${percent(WORTH)} likely to be wrong: you may stop here.`);
  } else parts.push("Every sample on this page is decided.");
  const promised = total(data.samples.map((s) => 1 - s.quality)), beyond = Math.round(data.expected - promised);
  if (data.rows > data.samples.length && beyond >= 1) {
    parts.push(`Beyond this page the audit expects about ${integer(beyond)} more.`);
  }
  ui.estimate.replaceChildren(...parts.map((text) => make("p", {}, text)));

  const looked = found.bands.filter((band) => band.looked || band.left).reverse();
  const cell = (number) => make("td", { class: "number" }, integer(number));
  ui.bands.replaceChildren(...looked.map((band) => make("tr", {},
    make("th", { scope: "row" }, `${Math.round(100 * band.from)} to ${Math.round(100 * band.to)} %`),
    [band.looked, band.promised, band.wrong, band.left, band.leftWrong].map(cell))));
}
function show() {
  view.show(now.list, now.current);
  pairs.mark(now.pair);
  const decided = store.records().length, sample = data.samples[now.current];
  const here = data.samples.filter((s) => store.get(s.row)).length;
  ui.progress.textContent = `${integer(here)} of ${integer(data.samples.length)} decided`;
  ui["keep-label"].textContent = sample ? ` “${data.classes[sample.given]}”` : "";
  const better = sample && sample.given !== sample.suggested;
  ui["accept-label"].textContent = better ? ` “${data.classes[sample.suggested]}”` : "";
  for (const name of ["keep", "other", "unsure", "previous", "next"]) ui[name].disabled = !sample;
  ui.accept.disabled = !better;
  ui.undo.disabled = !store.undoable();
  ui.save.disabled = !decided;
  ui.memory.textContent = store.kept ? "This browser keeps your decisions for this file."
    : "This browser does not keep decisions for this file: save them before you close the page.";
  ui.memory.classList.toggle("warning", !store.kept);
  showEstimate();
}

for (const part of document.querySelectorAll("[data-live]")) part.hidden = !data.samples.length;
ui.wait.remove();
refilter();
