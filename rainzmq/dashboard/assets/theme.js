// Before anything is painted: the theme that was chosen, else the one the system prefers.
(() => {
  const chosen = /(?:^|; )rainzmq_theme=(dark|light)/.exec(document.cookie);
  const prefers = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  document.documentElement.dataset.theme = chosen ? chosen[1] : prefers;
})();
