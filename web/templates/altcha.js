"use strict";
// Solve Altcha's proof of work while the form is filled in; a form sent earlier waits for it.
const field = document.getElementById("altcha");
const challenge = JSON.parse(field.dataset.challenge);
let isWanted = false;

const bytes = (hex) => Uint8Array.from(hex.match(/../g), (pair) => parseInt(pair, 16));
const hex = (found) => Array.from(found, (byte) => byte.toString(16).padStart(2, "0")).join("");

async function derive(counter) {
  const { nonce, salt, cost, keyLength } = challenge.parameters;
  const password = new Uint8Array([...bytes(nonce), 0, 0, 0, 0]);
  new DataView(password.buffer).setUint32(password.length - 4, counter);
  const key = await crypto.subtle.importKey("raw", password, "PBKDF2", false, ["deriveBits"]);
  const how = { name: "PBKDF2", hash: "SHA-256", salt: bytes(salt), iterations: cost };
  return hex(new Uint8Array(await crypto.subtle.deriveBits(how, key, keyLength * 8)));
}

async function solve() {
  for (let counter = 0; ; counter += 1) {
    const derivedKey = await derive(counter);
    if (derivedKey.startsWith(challenge.parameters.keyPrefix)) return { counter, derivedKey };
  }
}

field.form.addEventListener("submit", (event) => {
  if (field.value) return;
  event.preventDefault();
  isWanted = true;
  event.submitter?.setAttribute("aria-busy", "true");
});
solve()
  .then((solution) => (field.value = btoa(JSON.stringify({ challenge, solution }))))
  .catch(() => (field.value = "none")) // without crypto.subtle, on a page over http: refused
  .finally(() => isWanted && field.form.submit());
