"use strict";
// Search the calls, copy a command, open what a link leads to; the page is whole without it.
const field = document.getElementById("search");
const calls = [...document.querySelectorAll("main article")];

field.closest("p").hidden = false;
field.addEventListener("input", () => {
  const words = field.value.toLowerCase().split(/\s+/);
  for (const call of calls) {
    const text = `${call.id} ${call.textContent}`.toLowerCase();
    call.hidden = !words.every((word) => text.includes(word));
  }
  const shown = calls.filter((call) => !call.hidden).length;
  document.getElementById("found").textContent = field.value ? `${shown} found` : "";
});

for (const command of document.querySelectorAll("pre.curl")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(command.textContent);
    button.textContent = "Copied";
  });
  command.before(button);
}

function open() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target?.hidden) target.hidden = false;
  target?.querySelector("details")?.setAttribute("open", "");
}
addEventListener("hashchange", open);
open();
