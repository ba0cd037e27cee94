// What a reader does to an explorer: keys, mouse and controls change what `view` shows, and ask it to draw that.
function explore(root) {
  "use strict";
  root.dataset.started = "";
  const { data, now, ui, at, fillFilters, refresh, describe, draw } = view(root);
  let timer = null;

  function toEpoch(e) {
    now.epoch = Math.max(0, Math.min(data.epochs - 1, e));
    ui.epoch.value = now.epoch + 1;
    refresh(true);
  }
  function choose(i, pinned) {
    if (i === undefined || (i === now.sample && pinned === now.pinned)) return;
    Object.assign(now, { sample: i, pinned });
    describe();
    draw();
  }
  function play(on) {
    clearInterval(timer);
    timer = null;
    if (on && now.epoch === data.epochs - 1) toEpoch(0);
    if (on) timer = setInterval(() => (now.epoch < data.epochs - 1 ? toEpoch(now.epoch + 1) : play(false)), 800);
    ui.play.textContent = on ? "Pause" : "Play";
    // Nobody can listen to a sentence for every epoch of a film.
    for (const spoken of [ui.details, ui.status]) spoken.setAttribute("aria-live", on ? "off" : "polite");
  }
  // The shown sample with the lowest cost; a cost of undefined is out of the question.
  function cheapest(cost) {
    let best, lowest = Infinity;
    for (const i of now.visible) {
      const price = cost(...at(i));
      if (price < lowest) [best, lowest] = [i, price];
    }
    return best;
  }
  function under(event, reach) {
    const box = ui.map.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    return cheapest((px, py) => (Math.hypot(px - x, py - y) < reach ? Math.hypot(px - x, py - y) : undefined));
  }
  function neighbour(dx, dy) {
    const [x, y] = at(now.sample);
    return cheapest((px, py) => {
      const along = (px - x) * dx + (py - y) * dy, aside = Math.abs((px - x) * dy) + Math.abs((py - y) * dx);
      return along > 0.1 && aside <= 2 * along ? along + 2 * aside : undefined;
    });
  }
  function step(by) {
    const next = by > 0 ? now.visible.find((i) => i > now.sample) : now.visible.findLast((i) => i < now.sample);
    choose(next ?? now.visible.at(by > 0 ? 0 : -1), true);  // round the end
  }
  const keys = {
    ArrowLeft: () => choose(neighbour(-1, 0), true), ArrowRight: () => choose(neighbour(1, 0), true),
    ArrowUp: () => choose(neighbour(0, -1), true), ArrowDown: () => choose(neighbour(0, 1), true),
    PageUp: () => toEpoch(now.epoch + 1), PageDown: () => toEpoch(now.epoch - 1),
    Home: () => toEpoch(0), End: () => toEpoch(data.epochs - 1),
    " ": () => play(!timer), Escape: () => choose(now.sample, false),
  };
  ui.map.addEventListener("keydown", (event) => {
    if (!(event.key in keys) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();  // the page must not scroll
    event.stopPropagation();  // nor a notebook go to another cell
    keys[event.key]();
  });
  ui.map.addEventListener("pointermove", (event) => {
    // A pinned sample stays while the mouse is on its way to the slider.
    if (event.pointerType === "mouse" && !now.pinned) choose(under(event, 24), false);
  });
  ui.map.addEventListener("click", (event) => {
    const found = under(event, 24);
    choose(found ?? now.sample, found !== undefined && !(now.pinned && found === now.sample));
  });
  ui.epoch.addEventListener("input", () => (play(false), toEpoch(ui.epoch.value - 1)));
  ui.play.addEventListener("click", () => play(!timer));
  ui.previous.addEventListener("click", () => step(-1));
  ui.next.addEventListener("click", () => step(1));
  ui.show.addEventListener("change", () => refresh());
  ui.method.addEventListener("change", () => {
    now.method = Number(ui.method.value);
    fillFilters();
    refresh(true);
  });
  ui.sample.addEventListener("change", () => {
    const i = data.samples.indexOf(Number(ui.sample.value));
    if (i >= 0) choose(i, true);
    else ui.status.textContent = `Sample ${ui.sample.value} is not in this explorer.`;
  });
}
