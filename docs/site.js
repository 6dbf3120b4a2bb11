// Tables that are wider than the page are scrolled with the keyboard, too.
const reachable = () => {
  for (const box of document.querySelectorAll(".md-typeset__scrollwrap")) box.tabIndex = 0;
};
if (window.document$) window.document$.subscribe(() => setTimeout(reachable, 0));
else window.addEventListener("load", reachable);
