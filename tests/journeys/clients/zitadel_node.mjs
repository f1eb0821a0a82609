// @zitadel/node: the older client of ZITADEL, over gRPC.
import { createAccessTokenInterceptor, createManagementClient } from "@zitadel/node/dist/api/index.js";
import { grpc, report, token } from "./report.mjs";

const management = createManagementClient(grpc, createAccessTokenInterceptor(token));
const stranger = createManagementClient(grpc, createAccessTokenInterceptor("unknown"));

await report(
  {
    "grpc v1": async () =>
      (await management.sendHumanResetPasswordNotification({ userId: "ada", type: 0 })).details.resourceOwner,
    "grpc unknown type": () => management.sendHumanResetPasswordNotification({ userId: "ada", type: 7 }),
    "grpc unknown user": () => management.sendHumanResetPasswordNotification({ userId: "nobody", type: 0 }),
    "grpc unknown token": () => stranger.sendHumanResetPasswordNotification({ userId: "ada", type: 0 }),
  },
  (error) => ({ code: error.code ?? String(error), id: /\(([A-Z]+-\w+)\)$/.exec(error.details ?? "")?.[1] ?? null }),
);
