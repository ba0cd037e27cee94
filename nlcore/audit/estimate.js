// How many labels are still wrong, from what the audit promised and what a person found. Nothing here knows the page.
//
// The audit promises of every label how likely it is to be wrong. The person's decisions correct the promises twice:
// first all together, by one shift of their log odds (the most likely one, if such shifts are spread around 0 with
// standard deviation SPREAD); then band by band, where a promise counts as much as STRENGTH decisions.
const EDGES = [0, 0.25, 0.5, 0.75, 0.9, 1];
const SPREAD = 0.7;  // two audits in three are off by less than a factor of two in the odds
const STRENGTH = 10;
const SURE = 0.01;  // no promise counts as surer than this, or no finding could ever correct it
const WORTH = 0.1;  // a label that is less likely wrong than this is not worth a look
const RIGHT = 0, WRONG = 1, UNSURE = -1;  // findings; null is "not looked at"

const logistic = (x) => 1 / (1 + Math.exp(-x));
const total = (values) => values.reduce((sum, value) => sum + value, 0);
const bandOf = (promise) => EDGES.findLastIndex((edge, b) => promise >= edge && b < EDGES.length - 1);

// promised: probability that the label of a sample is wrong. found: one finding a sample. order: numbers of samples, in
// the order in which the person will meet them. next: how many of them "the next ones" are.
function forecast(promised, found, order, next) {
  const odds = promised.map((p) => Math.min(1 - SURE, Math.max(SURE, p))).map((p) => Math.log(p / (1 - p)));
  const all = [...promised.keys()];
  const judged = all.filter((i) => found[i] === RIGHT || found[i] === WRONG);
  const left = all.filter((i) => found[i] === null);
  const shift = likeliestShift(judged.map((i) => odds[i]), judged.map((i) => found[i]));
  const shifted = odds.map((x) => logistic(x + shift));

  const bands = EDGES.slice(1).map((to, b) => {
    const looked = judged.filter((i) => bandOf(promised[i]) === b);
    const wrong = total(looked.map((i) => found[i]));
    const change = (wrong - total(looked.map((i) => shifted[i]))) / (looked.length + STRENGTH);
    const expected = total(looked.map((i) => promised[i]));
    return { from: EDGES[b], to, looked: looked.length, promised: expected, wrong, change };
  });
  const changed = (p, i) => Math.min(1, Math.max(0, p + bands[bandOf(promised[i])].change));
  const corrected = shifted.map(changed);
  for (const [b, band] of bands.entries()) {
    const here = left.filter((i) => bandOf(promised[i]) === b);
    Object.assign(band, { left: here.length, leftWrong: total(here.map((i) => corrected[i])) });
  }

  // Two doubts: each sample may fall either way, and the shift, which moves all of them, is not known exactly.
  const leftWrong = total(left.map((i) => corrected[i]));
  const swing = total(left.map((i) => corrected[i] * (1 - corrected[i])));
  const known = 1 / SPREAD ** 2 + total(judged.map((i) => shifted[i] * (1 - shifted[i])));
  const other = (by) => left.map((i) => changed(logistic(odds[i] + shift + by / Math.sqrt(known)), i));
  const margin = (by) => Math.sqrt((total(other(by)) - leftWrong) ** 2 + by ** 2 * swing);
  const coming = order.filter((i) => found[i] === null).slice(0, next);
  return {
    looked: judged.length,
    unsure: all.filter((i) => found[i] === UNSURE).length,
    promised: total(judged.map((i) => promised[i])),
    wrong: total(judged.map((i) => found[i])),
    left: left.length,
    leftWrong,
    low: Math.max(0, leftWrong - margin(-1.96)),
    high: Math.min(left.length, leftWrong + margin(1.96)),
    worth: left.filter((i) => corrected[i] >= WORTH).length,
    next: coming.length,
    nextWrong: total(coming.map((i) => corrected[i])),
    bands,
  };
}

// The shift where the slope of the log posterior is 0: the slope falls all the way, so halving finds it.
function likeliestShift(odds, found) {
  let low = -12, high = 12;
  for (let step = 0; step < 50; step++) {
    const middle = (low + high) / 2;
    const slope = total(odds.map((x, i) => found[i] - logistic(x + middle))) - middle / SPREAD ** 2;
    if (slope > 0) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}
