// @connectrpc/connect-node with the messages of @zitadel/proto: Connect, gRPC-Web and gRPC.
import { createClient, ConnectError } from "@connectrpc/connect";
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
} from "@connectrpc/connect-node";
import { UserService } from "@zitadel/proto/zitadel/user/v2/user_service_pb.js";
import { ManagementService } from "@zitadel/proto/zitadel/management_pb.js";
import { ErrorDetailSchema } from "@zitadel/proto/zitadel/message_pb.js";
import { grpc, report, token, url } from "./report.mjs";

const bearer = (value) => (next) => (request) => {
  request.header.set("authorization", `Bearer ${value}`);
  return next(request);
};
const transports = {
  connectJson: (t) => createConnectTransport({ baseUrl: url, httpVersion: "1.1", interceptors: [bearer(t)] }),
  connectProto: (t) =>
    createConnectTransport({ baseUrl: url, httpVersion: "1.1", useBinaryFormat: true, interceptors: [bearer(t)] }),
  grpcWeb: (t) => createGrpcWebTransport({ baseUrl: url, httpVersion: "1.1", interceptors: [bearer(t)] }),
  grpcWebDeadline: (t) =>
    createGrpcWebTransport({ baseUrl: url, httpVersion: "1.1", defaultTimeoutMs: 20000, interceptors: [bearer(t)] }),
  grpc: (t) => createGrpcTransport({ baseUrl: grpc, interceptors: [bearer(t)] }),
};

const cases = {};
for (const [name, make] of Object.entries(transports)) {
  const users = createClient(UserService, make(token));
  const management = createClient(ManagementService, make(token));
  const stranger = createClient(UserService, make("unknown"));
  cases[`${name} v1`] = async () =>
    (await management.sendHumanResetPasswordNotification({ userId: "ada" })).details.resourceOwner;
  cases[`${name} password`] = async () => {
    const medium = { case: "returnCode", value: {} };
    const { verificationCode } = await users.passwordReset({ userId: "ada", medium });
    const done = await users.setPassword({
      userId: "ada",
      newPassword: { password: "Correct-Horse-1" },
      verification: { case: "verificationCode", value: verificationCode },
    });
    return done.details.resourceOwner;
  };
  cases[`${name} unknown user`] = () => users.passwordReset({ userId: "nobody" });
  cases[`${name} unknown token`] = () => stranger.passwordReset({ userId: "ada" });
}

await report(cases, (thrown) => {
  const error = ConnectError.from(thrown);
  return { code: error.code, id: error.findDetails(ErrorDetailSchema)[0]?.id ?? null };
});
