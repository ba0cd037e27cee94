// A person's decisions: kept, undone, saved as decisions.csv and read again, as nlcore/audit/decisions.py reads it.
// A record is {row, name, given_label, decision, label}, with labels by name. Nothing here knows the page.
const COLUMNS = ["row", "name", "given_label", "decision", "label"];
const DECISIONS = ["keep", "accept", "other", "unsure"];

// --- the file --------------------------------------------------------------------------------------------------------

// A spreadsheet runs a cell that begins like a formula. Behind an apostrophe it is a text, and stays one.
const guarded = (cell) => (/^'*[=+\-@\t\r]/.test(cell) ? `'${cell}` : cell);
const unguarded = (cell) => (/^'+[=+\-@\t\r]/.test(cell) ? cell.slice(1) : cell);
const quoted = (cell) => (/[",;\t\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);

function toCsv(records) {
  const lines = [...records].sort((a, b) => a.row - b.row).map((record) => COLUMNS.map((name) => record[name]));
  const cells = [COLUMNS, ...lines].map((line) => line.map((cell) => quoted(guarded(String(cell)))).join(","));
  return "\uFEFF" + cells.join("\r\n") + "\r\n";  // the mark tells Excel that this is UTF-8
}

function fromCsv(text) {
  text = text.replace(/^\uFEFF/, "");
  const head = text.split(/[\r\n]/, 1)[0];
  const often = (mark) => head.split(mark).length;
  const delimiter = [",", ";", "\t"].reduce((best, mark) => (often(mark) > often(best) ? mark : best));
  const lines = [];
  let cells = [], cell = "", inQuotes = false;
  const endLine = () => {
    cells.push(cell);
    if (cells.some(Boolean)) lines.push(cells.map(unguarded));
    [cells, cell] = [[], ""];
  };
  for (let at = 0; at < text.length; at++) {
    const letter = text[at];
    if (inQuotes && letter === '"' && text[at + 1] === '"') cell += text[at++];
    else if (letter === '"' && (inQuotes || cell === "")) inQuotes = !inQuotes;
    else if (inQuotes) cell += letter;
    else if (letter === delimiter) [cells, cell] = [[...cells, cell], ""];
    else if (letter === "\n" || letter === "\r") endLine();
    else cell += letter;
  }
  if (inQuotes) throw new Error("the file ends inside a cell in quotes");
  endLine();
  const names = (lines.shift() ?? []).map((name) => name.trim().toLowerCase());
  const missing = COLUMNS.filter((name) => !names.includes(name));
  if (missing.length) throw new Error(`there is no column ${missing.join(", ")}`);
  return lines.map((line) => Object.fromEntries(COLUMNS.map((name) => [name, line[names.indexOf(name)] ?? ""])));
}

// What Excel may have made of a file: UTF-16, or the letters of the Windows at hand.
function decoded(bytes) {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return new TextDecoder("utf-16le").decode(bytes);
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return new TextDecoder("utf-16be").decode(bytes);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return new TextDecoder("windows-1252").decode(bytes);
  }
}

// Records that fit these data; an error in words for the first one that does not.
function checked(records, data) {
  const givenOf = new Map(data.samples.map((sample) => [sample.row, data.classes[sample.given]]));
  const classes = new Set(data.classes), found = new Map();
  for (const raw of records) {
    const record = { ...raw, row: Number(raw.row), decision: String(raw.decision).trim().toLowerCase() };
    const where = `row ${raw.row}`;
    if (!/^\s*\d+\s*$/.test(raw.row) || record.row >= data.rows) throw new Error(`${where} is not in these data`);
    if (!DECISIONS.includes(record.decision)) throw new Error(`${where}: unknown decision “${raw.decision}”`);
    if (!classes.has(record.given_label) || (givenOf.get(record.row) ?? record.given_label) !== record.given_label) {
      throw new Error(`${where} has another label than “${record.given_label}”: these are decisions on other data`);
    }
    if (record.decision === "unsure" || record.decision === "keep") record.label = record.given_label;
    if (!record.label.trim()) throw new Error(`${where}: ${record.decision} needs a label`);
    if (record.decision === "accept" && !classes.has(record.label)) {
      throw new Error(`${where}: there is no class “${record.label}”`);
    }
    const before = found.get(record.row);
    if (before && (before.decision !== record.decision || before.label !== record.label)) {
      throw new Error(`${where} has two decisions that differ`);
    }
    found.set(record.row, record);
  }
  return [...found.values()];
}

// --- the store -------------------------------------------------------------------------------------------------------

// Decisions by row. `storage` is the browser's localStorage, or null; it may refuse at any time. Then `kept` is false,
// and the decisions live as long as the page.
function makeStore(data, storage) {
  const key = `nlcore-audit\n${data.title}\n${data.digest}`, byRow = new Map(), past = [];
  const store = { kept: storage !== null, get: (row) => byRow.get(row), records: () => [...byRow.values()] };

  function read() {
    byRow.clear();
    try {
      const held = checked(JSON.parse(storage.getItem(key) ?? "[]"), data);
      for (const record of held) byRow.set(record.row, record);
    } catch {
      // What is held under this key is not ours, or was damaged: as good as nothing.
    }
  }
  function keep() {
    if (storage === null) return;
    try {
      storage.setItem(key, JSON.stringify(store.records()));
      store.kept = true;
    } catch {
      store.kept = false;
    }
  }
  // Several at once are undone at once.
  store.set = (records) => {
    past.push(records.map((record) => [record.row, byRow.get(record.row)]));
    for (const record of records) byRow.set(record.row, record);
    keep();
  };
  // The row that changed, or null where there is nothing to undo.
  store.undo = () => {
    const changes = past.pop();
    if (!changes) return null;
    for (const [row, before] of changes) {
      if (before) byRow.set(row, before);
      else byRow.delete(row);
    }
    keep();
    return changes[0]?.[0] ?? null;
  };
  store.undoable = () => past.length > 0;
  // Another window with the same report has decided something.
  store.changedElsewhere = (event) => {
    if (event.key !== key) return false;
    past.length = 0;
    read();
    return true;
  };
  if (storage !== null) read();
  return store;
}

// localStorage, or null: some browsers refuse it to files, and the mere mention throws.
function browserStorage() {
  try {
    window.localStorage.setItem("nlcore-audit", "");
    window.localStorage.removeItem("nlcore-audit");
    return window.localStorage;
  } catch {
    return null;
  }
}
