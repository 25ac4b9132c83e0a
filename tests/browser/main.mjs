// Swagger UI in a real browser, as somebody uses it who sees it for the first time: press Authorize, give the key, open
// an operation, press Execute on its example.
//
//   node main.mjs ADDRESS KEY CHROMIUM [SCREENSHOT [DIRECTORY-FOR-PICTURES-OF-ALL-PAGES]]

import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const [address, key, executablePath, screenshot, pictures] = process.argv.slice(2);

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 1180 } });
  const elsewhere = [];
  const broken = [];
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(address) && !url.startsWith("data:") && !url.startsWith("blob:")) elsewhere.push(url);
  });
  page.on("pageerror", (error) => broken.push(String(error)));
  page.on("console", (message) => {
    // A refusal that was asked for is an error to the console, too.
    if (message.type() === "error" && !message.text().includes("403")) broken.push(message.text());
  });

  await page.goto(`${address}/docs`);
  await authorize(page);

  const link = page.locator("#operations-Identities-createUserIdentity");
  await open(link);
  const linked = await execute(link);
  assert.equal(linked.status, 201, linked.text);
  assert.match(linked.text, /"external_id": "583231"/);
  if (screenshot) await show(page, link, screenshot);

  const body = link.locator("textarea.body-param__text");
  const example = JSON.parse(await body.inputValue());
  await body.fill(JSON.stringify({ ...example, external_id: "583232", external_email: "octocat@elsewhere.example" }));
  const refused = await execute(link);
  assert.equal(refused.status, 403, refused.text);
  assert.match(refused.text, /GitHub accounts must use an address of the company\./);

  let tried = 0;
  for (const id of [
    "Identities-listUserIdentities",
    "Identities-getUserIdentity",
    "Identities-lookupIdentity",
    "Users-createUser",
    "Users-updateUser",
    "IdentityProviders-createIdentityProvider",
    "Policies-evaluatePolicies",
    "Policies-previewPolicies",
    "ApiKeys-createApiKey",
    "ApiKeys-rotateApiKey",
    "Tenants-createTenant",
    "Health-getHealth",
  ]) {
    const operation = page.locator(`#operations-${id}`);
    await open(operation);
    const answer = await execute(operation);
    assert.ok(answer.status >= 200 && answer.status < 300, `${id}: ${answer.status} ${answer.text}`);
    tried += 1;
  }

  await page.goto(`${address}/reference`);
  await page.getByRole("heading", { name: "Link an account to a user" }).waitFor();
  await page.evaluate(() => scrollTo(0, 3000));
  const menu = await page.locator(".menu-content").boundingBox();
  assert.equal(menu.y, 0, "the menu of the reference begins at the top");
  const pages = await readable(page);

  assert.deepEqual(elsewhere, [], "nothing is loaded from elsewhere");
  assert.deepEqual(broken, [], "the page has no errors");
  console.log(`Swagger UI: 201, then 403 with its notice; ${tried} more operations at first press; the reference; ${pages} pages at 1280 and 390 px; nothing from elsewhere`);
} finally {
  await browser.close();
}

// Every page, as wide as a desk's screen and as narrow as a phone's: it is there, links to the others, and has nothing
// that one has to scroll to the side for.
async function readable(page) {
  const paths = ["/", "/docs", "/docs/", "/reference", "/docs/errors", "/docs/errors/forbidden"];
  for (const [width, height] of [[1280, 900], [390, 844]]) {
    await page.setViewportSize({ width, height });
    for (const path of paths) {
      await page.goto(address + path, { waitUntil: "networkidle" });
      const links = await page.locator("nav.bar a").evaluateAll((all) => all.map((link) => link.getAttribute("href")));
      assert.deepEqual(links, ["/", "/reference", "/docs", "/docs/errors", "/openapi.yaml"], path);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(wide <= width, `${path} is ${wide} px wide on a screen of ${width} px`);
      if (pictures) await page.screenshot({ path: `${pictures}/${path.replaceAll("/", "_")}-${width}.png` });
    }
  }
  return paths.length;
}

async function authorize(page) {
  await page.locator(".scheme-container .btn.authorize").click();
  const dialog = page.locator(".dialog-ux .auth-container", { hasText: "X-API-Key" });
  await dialog.locator("input").fill(key);
  await dialog.locator(".btn.authorize").click();
  await page.locator(".dialog-ux .btn-done").first().click();
}

async function open(operation) {
  await operation.scrollIntoViewIfNeeded();
  await operation.locator(".opblock-summary-control").click();
  await operation.locator(".try-out__btn").click();
}

async function execute(operation) {
  const [response] = await Promise.all([
    operation.page().waitForResponse((response) => new URL(response.url()).pathname !== "/docs"),
    operation.locator(".btn.execute").click(),
  ]);
  const status = response.status();
  // What the person sees, not what went over the wire.
  const answer = operation.locator(".live-responses-table .response");
  await answer.locator(".response-col_status", { hasText: String(status) }).waitFor();
  return { status, text: await answer.innerText() };
}

// From the head of the operation to the answer.
async function show(page, operation, path) {
  const [top, answer] = [await operation.boundingBox(), await operation.locator(".live-responses-table").boundingBox()];
  await page.setViewportSize({ width: 1280, height: Math.ceil(answer.y + answer.height - top.y) + 40 });
  await operation.evaluate((element) => element.scrollIntoView());
  const [x, y] = [top.x, (await operation.boundingBox()).y];
  await page.screenshot({ path, clip: { x, y, width: top.width, height: answer.y + answer.height - top.y } });
}
