"""An application that keeps its users itself, for Keyturn: docs/directory-http.md. (Flask)"""

import hmac
import os
import time
from base64 import b64decode, b64encode
from urllib.parse import quote

from flask import Flask, abort, request
from werkzeug.security import check_password_hash, generate_password_hash

app, key = Flask(__name__), b64decode(os.environ["KEYTURN_DIRECTORY_SECRET"].removeprefix("whsec_"))
users = {
    "ada": {"userId": "ada", "orgId": "acme", "userName": "ada", "displayName": "Ada Lovelace",
            "language": "de-CH", "email": "ada@example.com", "emailVerified": True,
            "phone": "+41791234567", "revision": "1"},
    "robot": {"userId": "robot", "orgId": "acme", "kind": "machine", "state": "locked"},
}  # fmt: skip
hashes = {"ada": generate_password_hash("Correct-horse-1")}


@app.before_request
def verify():
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    call, at, given = (request.headers.get(name, "") for name in names)
    mac = hmac.digest(key, f"{call}.{at}.".encode() + request.get_data(), "sha256")
    is_signed = hmac.compare_digest(given.encode(), b"v1," + b64encode(mac))
    about = (request.view_args or {}).get("user_id", request.args.get("identifier", ""))
    is_meant = call.split(":")[:2] == [request.method, quote(about, safe="")]  # no path is signed
    if not (is_signed and is_meant and abs(time.time() - int(at)) < 300):
        abort(401)


@app.get("/users/<user_id>")
def find_user(user_id):
    return users.get(user_id) or abort(404)


@app.get("/users")
def find_by_identifier():
    wanted, fields = request.args["identifier"], ("email", "phone", "userName")
    found = [u for u in users.values() if wanted in [u.get(name, "").lower() for name in fields]]
    return {"users": found}


@app.post("/users/<user_id>/password")
def set_password(user_id):
    user, given = find_user(user_id), request.get_json()
    if given["revision"] != user.get("revision"):
        abort(409)  # changed meanwhile; with a database: UPDATE ... WHERE revision = ...
    if given["password"] == "Refused-by-the-shop-0":
        abort(422)  # the application's own rules; end the user's sessions below, too
    hashes[user_id] = generate_password_hash(given["password"])
    user |= {"revision": os.urandom(8).hex(), "changeRequired": given["changeRequired"]}
    return "", 204


@app.post("/users/<user_id>/password/_verify")  # only for calls with the current password
def verify_password(user_id):
    present = hashes.get(user_id) or hashes["ada"]  # a user who does not exist costs as much
    is_right = check_password_hash(present, request.get_json()["password"])
    return {"matches": user_id in hashes and is_right}
