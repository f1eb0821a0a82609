// An application that keeps its users itself, for Keyturn: docs/directory-http.md. (Express)
const crypto = require("crypto"), express = require("express");

const key = Buffer.from(process.env.KEYTURN_DIRECTORY_SECRET.replace(/^whsec_/, ""), "base64"), app = express();
const users = new Map([
  ["ada", { userId: "ada", orgId: "acme", userName: "ada", displayName: "Ada Lovelace", language: "de-CH",
    email: "ada@example.com", emailVerified: true, phone: "+41791234567", revision: "1" }],
  ["robot", { userId: "robot", orgId: "acme", kind: "machine", state: "locked" }],
]);
const hash = (password, salt) => crypto.scryptSync(password, salt, 32).toString("hex");
const hashes = new Map([["ada", hash("Correct-horse-1", "ada")]]);
const verify = (req, res, next) => {
  const [call, at, given] = ["id", "timestamp", "signature"].map((name) => req.get(`webhook-${name}`) ?? "");
  const body = Buffer.isBuffer(req.body) ? req.body : Buffer.alloc(0);
  const own = Buffer.from("v1," + crypto.createHmac("sha256", key).update(`${call}.${at}.`).update(body).digest("base64"));
  const isSigned = own.length === Buffer.byteLength(given) && crypto.timingSafeEqual(own, Buffer.from(given));
  const [method, about] = call.split(":"); // the signature covers this, and not the path
  const isMeant = isSigned && method === req.method && decodeURIComponent(about) === (req.params.id ?? req.query.identifier);
  if (!isMeant || !(Math.abs(Date.now() / 1000 - at) < 300)) return res.sendStatus(401);
  if (body.length) req.given = JSON.parse(body);
  next();
};
app.use(express.raw({ type: "application/json" }));
app.get("/users/:id", verify, (req, res) => users.has(req.params.id) ? res.json(users.get(req.params.id)) : res.sendStatus(404));
app.get("/users", verify, (req, res) => res.json({ users: [...users.values()].filter((user) =>
  [user.email, user.phone, user.userName].some((each) => each?.toLowerCase() === req.query.identifier)) }));
app.post("/users/:id/password", verify, ({ params: { id }, given }, res) => {
  if (!users.has(id)) return res.sendStatus(404);
  if (given.revision !== (users.get(id).revision ?? null)) return res.sendStatus(409); // changed meanwhile
  if (given.password === "Refused-by-the-shop-0") return res.sendStatus(422); // the application's own rules
  hashes.set(id, hash(given.password, id)); // end the user's sessions here, too
  Object.assign(users.get(id), { revision: crypto.randomBytes(8).toString("hex"), changeRequired: given.changeRequired });
  res.sendStatus(204);
});
app.post("/users/:id/password/_verify", verify, ({ params: { id }, given }, res) => // for calls with the current password
  res.json({ matches: hash(given.password, id) === hashes.get(id) }));
const server = app.listen(process.env.PORT ?? 5000, "127.0.0.1", () => console.log(server.address().port));
