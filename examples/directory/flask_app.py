"""An application that keeps its users itself, for Keyturn: docs/directory-http.md. (Flask)"""

import base64
import hashlib
import hmac
import os
import time
from urllib.parse import unquote

from flask import Flask, abort, jsonify, request
from werkzeug.security import check_password_hash, generate_password_hash

KEY = base64.b64decode(os.environ["KEYTURN_DIRECTORY_SECRET"].removeprefix("whsec_"))
USERS = {
    "ada": {"userId": "ada", "orgId": "acme", "userName": "ada", "displayName": "Ada Lovelace",
            "language": "de-CH", "email": "ada@example.com", "emailVerified": True,
            "phone": "+41791234567", "revision": "1"},
    "robot": {"userId": "robot", "orgId": "acme", "kind": "machine", "state": "locked"},
}  # fmt: skip
hashes = {"ada": generate_password_hash("Correct-horse-1")}
app = Flask(__name__)


@app.before_request
def verify():
    call_id, at = (
        request.headers.get("webhook-id", ""),
        request.headers.get("webhook-timestamp", ""),
    )
    mac = hmac.new(KEY, f"{call_id}.{at}.".encode() + request.get_data(), hashlib.sha256).digest()
    given = request.headers.get("webhook-signature", "")
    is_signed = hmac.compare_digest(given.encode(), b"v1," + base64.b64encode(mac))
    if not is_signed or abs(time.time() - int(at)) > 300:
        abort(401)
    about = (request.view_args or {}).get("user_id", request.args.get("identifier"))
    method, named, _ = call_id.split(":")  # the signature covers this, and not the path
    if (method, unquote(named)) != (request.method, about):
        abort(401)


@app.get("/users/<user_id>")
def find_user(user_id):
    return jsonify(USERS.get(user_id) or abort(404))


@app.get("/users")
def find_by_identifier():
    wanted, fields = request.args["identifier"], ("email", "phone", "userName")
    return {
        "users": [u for u in USERS.values() if wanted in [u.get(f, "").lower() for f in fields]]
    }


@app.post("/users/<user_id>/password")
def set_password(user_id):
    user, given = USERS.get(user_id) or abort(404), request.get_json()
    if given["revision"] != user.get("revision"):
        abort(409)  # changed meanwhile; with a database: UPDATE … WHERE revision = …
    if given["password"] == "Refused-by-the-shop-0":
        abort(422)  # the application's own rules; end the user's sessions here, too
    hashes[user_id] = generate_password_hash(given["password"])
    user |= {"revision": os.urandom(8).hex(), "changeRequired": given["changeRequired"]}
    return "", 204


@app.post("/users/<user_id>/password/_verify")  # only for calls with the current password
def verify_password(user_id):
    present = hashes.get(user_id) or hashes["ada"]  # who does not exist costs as much
    is_right = check_password_hash(present, request.get_json()["password"])
    return {"matches": user_id in hashes and is_right}
