// An application that keeps its users itself, for Keyturn: docs/directory-http.md. (Express)
const crypto = require("crypto"), express = require("express");

const KEY = Buffer.from(process.env.KEYTURN_DIRECTORY_SECRET.replace(/^whsec_/, ""), "base64");
const hash = (password, salt) => crypto.scryptSync(password, salt, 32).toString("hex");
const users = {
  ada: { userId: "ada", orgId: "acme", userName: "ada", displayName: "Ada Lovelace", language: "de-CH",
    email: "ada@example.com", emailVerified: true, phone: "+41791234567", revision: "1" },
  robot: { userId: "robot", orgId: "acme", kind: "machine", state: "locked" },
};
const hashes = new Map([["ada", hash("Correct-horse-1", "ada")]]);
const find = (req, res) => Object.hasOwn(users, req.params.id) ? users[req.params.id] : void res.sendStatus(404);
const verified = (req, res, next) => {
  const [id, at, given] = ["webhook-id", "webhook-timestamp", "webhook-signature"].map((name) => req.get(name) || "");
  const body = Buffer.isBuffer(req.body) ? req.body : Buffer.alloc(0);
  const mac = crypto.createHmac("sha256", KEY).update(`${id}.${at}.`).update(body).digest("base64");
  const [own, theirs] = [Buffer.from(`v1,${mac}`), Buffer.from(given)];
  const isSigned = own.length === theirs.length && crypto.timingSafeEqual(own, theirs);
  const [method, about] = id.split(":"); // the signature covers this, and not the path
  const isMeant = method === req.method && decodeURIComponent(about || "") === (req.params.id ?? req.query.identifier);
  if (!isSigned || !isMeant || !(Math.abs(Date.now() / 1000 - at) < 300)) return res.sendStatus(401);
  if (body.length) req.given = JSON.parse(body);
  next();
};
const app = express();
app.use(express.raw({ type: "application/json" }));
app.get("/users/:id", verified, (req, res) => { const user = find(req, res); if (user) res.json(user); });
app.get("/users", verified, (req, res) => res.json({ users: Object.values(users).filter((user) =>
  [user.email, user.phone, user.userName].includes(req.query.identifier)) }));
app.post("/users/:id/password", verified, (req, res) => {
  const user = find(req, res);
  if (!user) return;
  if (req.given.revision !== (user.revision ?? null)) return res.sendStatus(409); // changed meanwhile
  if (req.given.password === "Refused-by-the-shop-0") return res.sendStatus(422); // the application's own rules
  hashes.set(req.params.id, hash(req.given.password, req.params.id)); // end the user's sessions here, too
  Object.assign(user, { revision: crypto.randomBytes(8).toString("hex"), changeRequired: req.given.changeRequired });
  res.sendStatus(204);
});
app.post("/users/:id/password/_verify", verified, (req, res) => { // for calls with the current password
  const made = hash(req.given.password, req.params.id);
  res.json({ matches: hashes.get(req.params.id) === made });
});
const server = app.listen(Number(process.env.PORT || 5000), "127.0.0.1", () => console.log(server.address().port));
