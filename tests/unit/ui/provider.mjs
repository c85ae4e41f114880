// An OpenID provider for the tests: everybody may sign in under any name, and their groups are in the name: "ann+oncall".
import Provider from "oidc-provider";

const [port, redirect] = process.argv.slice(2);
const gone = new Set();
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{ client_id: "syncd", client_secret: "a-secret-of-a-client", redirect_uris: [redirect] }],
  claims: { openid: ["sub"], email: ["email", "email_verified"], groups: ["groups"] },
  scopes: ["openid", "email", "groups"],
  pkce: { required: () => true },
  cookies: { keys: ["a key of the tests"] },
  async findAccount(_context, sub) {
    if (gone.has(sub)) return undefined;
    const [name, ...groups] = sub.split("+");
    const email_verified = !name.startsWith("mallory");
    return { accountId: sub, claims: async () => ({ sub, email: `${name}@example.com`, email_verified, groups }) };
  },
});
provider.use(async (context, next) => {
  if (context.path === "/test/dismiss") { gone.add(context.query.sub); context.body = "gone"; return; }
  await next();
});
provider.listen(Number(port), "127.0.0.1", () => console.log("listening"));
