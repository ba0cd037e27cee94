// What the themes leave undone for those who read with the keyboard or with a screen reader.

// Roles that docutils and Sphinx should have written: entries of a bibliography, parameters of a long signature.
document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("[role=doc-biblioentry], dt.sig dd").forEach((entry) => entry.setAttribute("role", "listitem"));
  document.querySelectorAll("dt.sig dl").forEach((list) => list.setAttribute("role", "list"));
});

// The theme's script gives a stop for Tab to code and tables that scroll, and looks again when the window changes. Under
// the name of a table it does so for wide formulas too; what was hidden has to be looked at again once it is open.
const lookAgain = () => dispatchEvent(new Event("resize"));
addEventListener("load", async () => {
  await window.MathJax?.startup?.promise;
  document.querySelectorAll("div.math mjx-container").forEach((it) => it.classList.add("pst-scrollable-table-container"));
  lookAgain();
});
document.addEventListener("toggle", lookAgain, true);
document.addEventListener("click", (event) => event.target.closest(".toggle") && lookAgain());

// On a phone a figure scrolls sideways in its frame and is not shrunk until nobody can read it: figures are drawn at 110
// pixels an inch, and at 72 their letters of nine points are nine pixels high.
addEventListener("load", () => {
  const frames = [...document.querySelectorAll(".cell_output figure img")].map((image) => {
    const frame = document.createElement("div");
    frame.className = "figure-frame";
    image.style.minWidth = `${Math.ceil(image.naturalWidth * 72 / 110)}px`;
    image.replaceWith(frame);
    frame.append(image);
    return frame;
  });
  const stops = () => frames.forEach((frame) => {
    if (frame.scrollWidth > frame.clientWidth) frame.tabIndex = 0;
    else frame.removeAttribute("tabindex");
  });
  stops();
  addEventListener("resize", stops);
});

// Excerpts of search results are of the article: not of the buttons and the contents around it, not of code, and not of
// the numbers that Sphinx puts before headings.
document.addEventListener("DOMContentLoaded", () => {
  if (typeof Search === "undefined") return;
  const toText = Search.htmlToText;
  Search.htmlToText = (page, anchor) => {
    const main = document.createElement("div"), article = new DOMParser().parseFromString(page, "text/html").querySelector("article");
    if (!article) return toText(page, anchor);
    article.querySelectorAll(".cell_input, .section-number, .header-article, nav, details").forEach((part) => part.remove());
    main.setAttribute("role", "main");
    main.append(article);
    return toText(main.outerHTML, anchor);
  };
});
