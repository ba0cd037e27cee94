// The choice of another label, among any number of classes: a text that narrows a list.
const MOST_CHOICES = 50;

// The classes that a text may mean, those that begin with it first. `first`: which to offer before anything is typed.
function matching(classes, text, first) {
  const wanted = text.trim().toLowerCase(), all = [...classes.keys()];
  if (!wanted) return [...new Set([...first, ...all])];
  const at = classes.map((name) => name.toLowerCase().indexOf(wanted));
  const order = (a, b) => (at[a] > 0) - (at[b] > 0) || classes[a].length - classes[b].length || a - b;
  return all.filter((k) => at[k] >= 0).sort(order);
}

// A label that is no class yet, or null: one that differs from a class by case or spaces alone is a slip.
function newClass(classes, text) {
  const plain = (name) => name.toLowerCase().split(/\s+/).filter(Boolean).join(" ");
  const wanted = plain(text);
  return wanted && !classes.some((name) => plain(name) === wanted) ? text.trim() : null;
}

// onChoice(label) gets the name that was chosen. Returns { open(sample) }.
function choice(data, onChoice) {
  const dialog = document.getElementById("choice"), input = document.getElementById("choice-text");
  const list = document.getElementById("choice-list"), note = document.getElementById("choice-note");
  let options = [], active = 0, first = [], sample = null;

  function fill() {
    const found = matching(data.classes, input.value, first), made = newClass(data.classes, input.value);
    options = found.slice(0, MOST_CHOICES).map((k) => data.classes[k]);
    if (made !== null) options.push(made);
    active = 0;
    list.replaceChildren(...options.map((name, i) => make("li", {
      role: "option", id: `choice-${i}`, "aria-selected": "false",
      onclick: () => take(i), onpointermove: () => mark(i),
    }, made !== null && i === options.length - 1 ? make("span", { class: "dim" }, "New class: ") : null,
    name, roleOf(name) && make("span", { class: "dim" }, ` (${roleOf(name)})`))));
    note.textContent = found.length > MOST_CHOICES ? `${integer(found.length)} classes; type to narrow them down.`
      : `${plural(found.length, "class", "classes")}.`;
    mark(0);
  }
  function roleOf(name) {
    if (name === data.classes[sample.given]) return "given";
    return name === data.classes[sample.suggested] ? "suggested" : "";
  }
  function mark(i) {
    if (!options.length) return input.removeAttribute("aria-activedescendant");
    list.children[active].setAttribute("aria-selected", "false");
    active = i;
    list.children[i].setAttribute("aria-selected", "true");
    input.setAttribute("aria-activedescendant", `choice-${i}`);
  }
  function take(i) {
    if (options[i] === undefined) return;
    shut();
    onChoice(options[i]);
  }
  function shut() {
    input.blur();  // else it holds the focus until the next frame, and swallows the next key
    dialog.close();
  }
  input.addEventListener("input", fill);
  input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && options.length) {
      event.preventDefault();
      mark((active + step + options.length) % options.length);
      list.children[active].scrollIntoView({ block: "nearest" });
    } else if (event.key === "Enter") {
      event.preventDefault();
      take(active);
    }
  });
  document.getElementById("choice-cancel").addEventListener("click", shut);

  return {
    open(chosen) {
      sample = chosen;
      first = chosen.neighbours.map(([k]) => k).filter((k) => k >= 0 && k !== chosen.given);
      input.value = "";
      fill();
      dialog.showModal();
      input.focus();
      list.scrollTop = 0;
    },
  };
}
