// Settings of MathJax, which is loaded after this file. Speaker's notes keep their formulas as TeX.
window.MathJax = {
  tex: { inlineMath: [["\\(", "\\)"]], displayMath: [["\\[", "\\]"]] },
  options: { ignoreHtmlClass: "notes", enableMenu: false },
  svg: { fontCache: "none" },
};
