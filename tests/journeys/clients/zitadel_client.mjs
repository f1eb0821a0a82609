// @zitadel/client: gRPC as a server, gRPC-Web as a browser.
import { createManagementServiceClient } from "@zitadel/client/v1";
import { createUserServiceClient } from "@zitadel/client/v2";
import { createServerTransport } from "@zitadel/client/node";
import { createClientTransport } from "@zitadel/client/web";
import { ConnectError } from "@connectrpc/connect";
import { ErrorDetailSchema } from "@zitadel/proto/zitadel/message_pb.js";
import { grpc, report, token, url } from "./report.mjs";

const transports = {
  grpc: (t) => createServerTransport(t, { baseUrl: grpc }),
  grpcWeb: (t) => createClientTransport(t, { baseUrl: url }),
};

const cases = {};
for (const [name, make] of Object.entries(transports)) {
  const users = createUserServiceClient(make(token));
  const management = createManagementServiceClient(make(token));
  const stranger = createUserServiceClient(make("unknown"));
  cases[`${name} v1`] = async () =>
    (await management.sendHumanResetPasswordNotification({ userId: "ada" })).details.resourceOwner;
  cases[`${name} v2`] = async () => (await users.passwordReset({ userId: "ada" })).details.resourceOwner;
  cases[`${name} unknown user`] = () => users.passwordReset({ userId: "nobody" });
  cases[`${name} unknown token`] = () => stranger.passwordReset({ userId: "ada" });
}

await report(cases, (thrown) => {
  const error = ConnectError.from(thrown);
  return { code: error.code, id: error.findDetails(ErrorDetailSchema)[0]?.id ?? null };
});
