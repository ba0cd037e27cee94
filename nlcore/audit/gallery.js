// The sample in focus and the strip of those around it. What is chosen and decided is in report.js, which calls
// `show` whenever that changes.
const STRIP = 24, STRIP_ROOM = 88;
const focusRoom = () => (matchMedia("(min-width: 40rem)").matches ? 288 : 200);  // pixels: a phone needs room for words
const MARKS = { keep: "✓ kept", accept: "⇄ accepted", other: "✎ other", unsure: "? unsure" };

function gallery(data, store, onFocus) {
  const card = document.getElementById("card"), strip = document.getElementById("strip");
  const pager = document.getElementById("pager");

  // --- one sample ----------------------------------------------------------------------------------------------------

  function content(sample) {
    if (sample.picture) {
      return make("div", { class: "media" }, pictureOf(sample, focusRoom(), `Picture of ${sample.name}`));
    }
    if (sample.text === undefined) return null;
    return make("div", { class: "media text" },
      make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Text of the sample", dir: "auto" },
        sample.text),
      sample.cut > 0 && make("p", { class: "small" },
        `${plural(sample.cut, "more character", "more characters")} not shown.`));
  }
  function values(sample) {
    if (!sample.values) return null;
    const most = Math.max(3, ...sample.values.map(([, , z]) => Math.abs(z ?? 0)));
    const heading = (text, i) => make("th", { scope: "col", class: i === 1 ? "number" : null }, text);
    const row = ([column, value, z]) => make("tr", {}, make("th", { scope: "row" }, column),
      make("td", { class: "number" }, value === null ? "none" : sixDigits.format(value)),
      make("td", {}, z === null ? "unknown" : `${Math.abs(z).toFixed(1)} sd ${z < 0 ? "below" : "above"}`,
        z !== null && bar(Math.abs(z) / most, Math.abs(z) >= 3 ? "strong" : "")));
    return make("table", { class: "values" },
      make("caption", {}, "Its most outstanding values, in standard deviations (sd) from the mean of class "
        + `${data.classes[sample.given]}.`),
      make("thead", {}, make("tr", {}, ["Column", "Value", "Against its class"].map(heading))),
      make("tbody", {}, sample.values.map(row)));
  }
  function neighbours(sample) {
    if (!sample.neighbours.length) return null;
    const sum = total(sample.neighbours.map(([, count]) => count));
    const role = (k) => (k === sample.given ? "given" : k === sample.suggested ? "suggested" : "");
    const item = ([k, count]) => make("li", {},
      make("span", { class: "who" }, k < 0 ? "other classes" : data.classes[k],
        role(k) && make("span", { class: "dim" }, ` (${role(k)})`)),
      bar(count / sum, role(k)), make("span", { class: "number" }, integer(count)));
    return [make("h4", {}, `Labels of its ${plural(sum, "nearest neighbour", "nearest neighbours")}`),
      make("ul", { class: "neighbours" }, sample.neighbours.map(item))];
  }
  function verdict(sample) {
    const record = store.get(sample.row);
    if (!record) return make("p", { class: "verdict" }, "Not decided yet.");
    const words = { keep: "You kept ", accept: "You accepted ", other: "You chose ", unsure: "You were unsure of " };
    return make("p", { class: "verdict decided" }, words[record.decision], make("strong", {}, record.label), ".");
  }
  function focus(sample, place, count) {
    const same = sample.given === sample.suggested;
    card.replaceChildren(
      content(sample) ?? "",
      make("div", { class: "facts" },
        make("h3", {}, sample.name),
        make("p", { class: "small" }, `${sample.name === `row ${sample.row}` ? "" : `Row ${sample.row}. `}`
          + `Sample ${integer(place + 1)} of ${integer(count)}.`),
        verdict(sample),
        make("dl", {},
          make("div", {}, make("dt", {}, "Given label"),
            make("dd", { class: "label given" }, data.classes[sample.given])),
          make("div", {}, make("dt", {}, "Suggested label"),
            make("dd", { class: "label suggested" }, same ? "no other" : data.classes[sample.suggested])),
          make("div", { class: "quality" }, make("dt", {}, "The given label is right"),
            make("dd", {}, make("strong", {}, percent(sample.quality)), bar(sample.quality)))),
        neighbours(sample) ?? "",
        values(sample) ?? ""));
  }

  // --- the strip -----------------------------------------------------------------------------------------------------

  function preview(sample) {
    if (sample.picture) return make("span", { class: "thumb" }, pictureOf(sample, STRIP_ROOM, ""));
    if (sample.text !== undefined) {
      return make("span", { class: "thumb words", dir: "auto" }, sample.text.slice(0, 90));
    }
    const first = sample.values?.slice(0, 2) ?? [];
    const cells = first.map(([column, value]) => `${column} ${value === null ? "none" : sixDigits.format(value)}`);
    return make("span", { class: "thumb words" },
      cells.length ? cells.map((text) => make("span", {}, text)) : sample.name);
  }
  function change(sample, record) {
    const given = data.classes[sample.given];
    if (record?.decision === "keep") return given;
    return `${given} → ${record && record.decision !== "unsure" ? record.label : data.classes[sample.suggested]}`;
  }
  function tile(i, current) {
    const sample = data.samples[i], record = store.get(sample.row);
    const mark = record ? MARKS[record.decision] : `${percent(sample.quality)} right`;
    return make("li", {}, make("button", { type: "button", "aria-current": i === current ? "true" : null,
      class: record ? "decided" : "", onclick: () => onFocus(i) },
    preview(sample),
    make("span", { class: "unseen" }, `${sample.name}: `),
    make("span", { class: "change" }, change(sample, record)),
    make("span", { class: "mark" }, mark)));
  }
  function around(list, current) {
    const place = Math.max(0, list.indexOf(current)), start = STRIP * Math.floor(place / STRIP);
    const inside = strip.contains(document.activeElement);
    const part = list.slice(start, start + STRIP);
    strip.replaceChildren(...part.map((i) => tile(i, current)));
    if (inside) strip.querySelector("[aria-current]")?.focus();
    const step = (text, target, disabled) => make("button",
      { type: "button", disabled, onclick: () => onFocus(target) }, text);
    const held = [...pager.children].indexOf(document.activeElement);
    pager.replaceChildren(
      step(`◂ ${STRIP} before`, list[start - STRIP], start === 0),
      make("span", {}, `${integer(start + 1)} to ${integer(start + part.length)} of ${integer(list.length)}`),
      step(`${STRIP} after ▸`, list[start + STRIP], start + STRIP >= list.length));
    pager.hidden = list.length <= STRIP;
    if (held >= 0) pager.children[held].focus();
  }

  return {
    // list: numbers of the samples that pass the filters; current: the one in focus, or null.
    show(list, current) {
      if (current === null) card.replaceChildren(make("p", { class: "empty" }, "No sample passes these filters."));
      else focus(data.samples[current], Math.max(0, list.indexOf(current)), list.length);
      around(list, current);
    },
  };
}
