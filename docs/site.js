// Tables that are wider than the page are scrolled with the keyboard, too. Short names aren't broken
// at their hyphens; a whole command may be.
const finish = () => {
  for (const box of document.querySelectorAll(".md-typeset__scrollwrap")) box.tabIndex = 0;
  for (const name of document.querySelectorAll(".md-typeset :not(pre) > code"))
    if (name.textContent.length < 30) name.classList.add("whole");
};
if (window.document$) window.document$.subscribe(() => setTimeout(finish, 0));
else window.addEventListener("load", finish);
