// Drives the region at ENDPOINT with the vendor's Node client and prints what it saw as one JSON object.
'use strict';

const { default: Client, ...models } = require('@alicloud/fc20230330');
const { $OpenApiUtil } = require('@alicloud/openapi-core');
const { Readable } = require('stream');

const { ENDPOINT, KEY, SECRET, PROGRAM, SCRIPT } = process.env;

function client(accessKeySecret) {
  return new Client(new $OpenApiUtil.Config({
    accessKeyId: KEY, accessKeySecret, regionId: 'cn-hangzhou', endpoint: ENDPOINT, protocol: 'http',
  }));
}

async function refused(call) {
  try {
    await call();
    return null;
  } catch (error) {
    return { code: error.code, status: error.statusCode };
  }
}

async function text(stream) {
  const pieces = [];
  for await (const piece of stream) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}

async function invoke(fc, qualifier) {
  const request = new models.InvokeFunctionRequest({ qualifier, body: Readable.from([Buffer.from('{}')]) });
  const answer = await fc.invokeFunction('node', request);
  return { version: answer.headers['x-fc-invocation-function-version'], said: JSON.parse(await text(answer.body)) };
}

async function publish(fc, release) {
  const changed = new models.UpdateFunctionInput({ environmentVariables: { RELEASE: release } });
  await fc.updateFunction('node', new models.UpdateFunctionRequest({ body: changed }));
  const body = new models.PublishVersionInput({ description: release });
  return (await fc.publishFunctionVersion('node', new models.PublishFunctionVersionRequest({ body }))).body.versionId;
}

async function main() {
  const fc = client(SECRET);
  const seen = {};
  const image = { image: 'r/node:1', port: 9000, entrypoint: [PROGRAM, SCRIPT] };
  const made = new models.CreateFunctionInput({
    functionName: 'node', runtime: 'custom-container', handler: 'x', memorySize: 512, timeout: 10,
    customContainerConfig: new models.CustomContainerConfig(image),
  });
  const create = () => fc.createFunction(new models.CreateFunctionRequest({ body: made }));
  seen.arn = (await create()).body.functionArn;
  seen.again = await refused(create);
  seen.versions = [await publish(fc, 'a'), await publish(fc, 'b')];
  seen.unchanged = await refused(() => publish(fc, 'b'));
  const alias = new models.CreateAliasInput({ aliasName: 'prod', versionId: '1' });
  await fc.createAlias('node', new models.CreateAliasRequest({ body: alias }));
  const before = await invoke(fc, 'prod');
  const moved = new models.UpdateAliasInput({ versionId: '2', additionalVersionWeight: { 1: 0.5 } });
  await fc.updateAlias('node', 'prod', new models.UpdateAliasRequest({ body: moved }));
  const after = await invoke(fc, 'prod');
  seen.served = [before, after].map((one) => [one.version, one.said.env.RELEASE]);
  const got = (await fc.getAlias('node', 'prod')).body;
  seen.alias = [got.versionId, got.additionalVersionWeight];
  const frozen = await fc.getFunction('node', new models.GetFunctionRequest({ qualifier: '1' }));
  seen.frozen = [frozen.body.environmentVariables.RELEASE, frozen.body.description];
  const page = await fc.listFunctionVersions('node', new models.ListFunctionVersionsRequest({ limit: 1 }));
  seen.newest = page.body.versions.map((version) => version.description);
  seen.wrongSecret = await refused(() => client('wrong').getAlias('node', 'prod'));
  seen.missing = await refused(() => fc.getFunction('ghost', new models.GetFunctionRequest({})));
  await fc.deleteAlias('node', 'prod');
  await fc.deleteFunctionVersion('node', '1');
  seen.gone = await refused(() => fc.getFunction('node', new models.GetFunctionRequest({ qualifier: '1' })));
  await fc.deleteFunction('node');
  process.stdout.write(JSON.stringify(seen));
}

main().catch((error) => { process.stderr.write(`${error.stack}\n`); process.exit(1); });
