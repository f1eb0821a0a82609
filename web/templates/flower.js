// Behind Flower's own: the id of a reset leads to its page in the console.
(() => {
  "use strict";
  const isReset = /^[0-9a-f][a-z2-7]{26}$/;
  const places = ".tasks-table td, pre.detail-code code";
  function link() {
    for (const place of document.querySelectorAll(places)) {
      const id = place.textContent.trim();
      if (!isReset.test(id) || place.querySelector("a")) continue;
      const anchor = document.createElement("a");
      anchor.href = `CONSOLE/resets/${id}`;
      anchor.textContent = id;
      place.replaceChildren(anchor);
    }
  }
  new MutationObserver(link).observe(document.body, { childList: true, subtree: true });
  link();
})();
