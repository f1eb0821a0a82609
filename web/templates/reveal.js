"use strict";
// Show and hide both passwords. Without this script the button stays hidden.
const button = document.getElementById("reveal");
const fields = [document.getElementById("password"), document.getElementById("passwordConfirm")];

function show(isShown) {
  for (const field of fields) field.type = isShown ? "text" : "password";
  if ((button.getAttribute("aria-pressed") === "true") === isShown) return;
  button.setAttribute("aria-pressed", String(isShown));
  [button.textContent, button.dataset.other] = [button.dataset.other, button.textContent];
}

button.addEventListener("click", () => show(fields[0].type === "password"));
button.form.addEventListener("submit", () => show(false)); // browsers keep what is typed as text
window.addEventListener("pagehide", () => show(false));
button.hidden = false;
