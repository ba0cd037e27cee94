// Elements and words. Texts go in as text, never as markup: a class or a file may be called anything.

// make("p", { class: "small", "aria-label": "..." }, "text", element, ...); what is null or false is left out.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== false && child !== undefined));
  return element;
}

const numbers = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const integer = (value) => numbers.format(value);
const sixDigits = new Intl.NumberFormat("en", { maximumSignificantDigits: 6, useGrouping: false });

// A probability in words of whole percents, which are never said to be surer than they are.
function percent(share) {
  if (share > 0 && share < 0.01) return "under 1 %";
  if (share < 1 && share > 0.99) return "over 99 %";
  return `${Math.round(100 * share)} %`;
}

const plural = (count, one, many) => `${integer(count)} ${count === 1 ? one : many}`;

// A bar of a length between 0 and 1. It repeats a number that stands beside it: screen readers need not say it.
function bar(share, kind = "") {
  const inner = make("span", { class: `fill ${kind}` });
  inner.style.inlineSize = `${100 * Math.min(1, Math.max(0, share))}%`;
  return make("span", { class: "bar", "aria-hidden": "true" }, inner);
}

// A picture, tiny ones in whole multiples of their pixels as far as they fit into `room`.
function pictureOf(sample, room, alt) {
  const [src, width, height] = sample.picture;
  const fit = room / Math.max(width, height), zoom = fit >= 2 ? Math.floor(fit) : fit;
  const image = make("img", { src, alt, class: fit >= 2 ? "crisp" : "", decoding: "async" });
  image.width = Math.max(1, Math.round(width * zoom));
  image.height = Math.max(1, Math.round(height * zoom));
  return image;
}
