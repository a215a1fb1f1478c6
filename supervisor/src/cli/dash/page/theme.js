// Light, dark, or as the system has it. Runs before the page is drawn, so that nothing flashes.
"use strict";
(() => {
  const KEY = "supervisor-theme";
  const NEXT = { auto: "light", light: "dark", dark: "auto" };
  const SIGN = { auto: "◐ Auto", light: "☀ Light", dark: "☾ Dark" };
  let theme = "auto";
  try {
    theme = localStorage.getItem(KEY) || "auto";
  } catch {
    // Without storage the choice lasts as long as the page.
  }
  const show = () => {
    if (!(theme in NEXT)) theme = "auto";
    document.documentElement.dataset.theme = theme;
    const button = document.getElementById("theme");
    if (button) button.textContent = SIGN[theme];
  };
  show();
  addEventListener("DOMContentLoaded", () => {
    show();
    document.getElementById("theme")?.addEventListener("click", () => {
      theme = NEXT[theme];
      try {
        localStorage.setItem(KEY, theme);
      } catch {
        // See above.
      }
      show();
    });
  });
})();
