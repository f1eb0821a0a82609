"use strict";
// Add a button that shows and hides both passwords; without this script there is none.
const place = document.getElementById("reveal");
const fields = [document.getElementById("password"), document.getElementById("passwordConfirm")];
const button = document.createElement("button");
button.type = "button";
button.className = "reveal";

function show(isShown) {
  for (const field of fields) field.type = isShown ? "text" : "password";
  button.textContent = isShown ? place.dataset.hide : place.dataset.show;
}

show(false);
place.append(button);
button.addEventListener("click", () => show(fields[0].type === "password"));
button.form.addEventListener("submit", () => show(false)); // browsers keep what is typed as text
window.addEventListener("pagehide", () => show(false));
