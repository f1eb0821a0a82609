// @grpc/grpc-js with our own .proto files; forty calls at a time over one connection.
import { credentials, loadPackageDefinition, Metadata } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { grpc, report, token } from "./report.mjs";

const protos = ["web/rpc/generated/user.proto", "web/rpc/generated/management.proto"];
const { zitadel } = loadPackageDefinition(loadSync(protos, { includeDirs: [process.env.KEYTURN_CHECKOUT] }));
const address = new URL(grpc).host;
const users = new zitadel.user.v2.UserService(address, credentials.createInsecure());
const management = new zitadel.management.v1.ManagementService(address, credentials.createInsecure());

function call(client, method, message, value = token) {
  const metadata = new Metadata();
  metadata.set("authorization", `Bearer ${value}`);
  return new Promise((resolve, reject) => {
    let headers;
    const under_way = client[method](message, metadata, { deadline: Date.now() + 20000 }, (error, answer) =>
      error ? reject(error) : resolve({ answer, headers }),
    );
    under_way.on("metadata", (found) => (headers = found.getMap()));
  });
}
const notify = (userId, value) => call(management, "SendHumanResetPasswordNotification", { userId }, value);

await report(
  {
    "grpc v1": async () => (await notify("ada")).answer.details.resourceOwner,
    "grpc handle": async () => typeof (await notify("ada")).headers["keyturn-reset-id"],
    "grpc v2": async () => (await call(users, "PasswordReset", { userId: "ada" })).answer.details.resourceOwner,
    "grpc forty": async () => (await Promise.all(Array.from({ length: 40 }, () => notify("ada")))).length,
    "grpc unknown user": () => notify("nobody"),
    "grpc unknown token": () => notify("ada", "unknown"),
  },
  (error) => ({
    code: error.code,
    id: /\(([A-Z]+-\w+)\)$/.exec(error.details)?.[1] ?? null,
    hasDetails: error.metadata.get("grpc-status-details-bin").length === 1,
  }),
);
