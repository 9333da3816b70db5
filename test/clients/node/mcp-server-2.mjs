// The tools of the scenario on version 2 of the TypeScript SDK: with sessions for
// older revisions, without for those from 2026-07-28 on.
import {randomUUID} from 'node:crypto'
import {createServer} from 'node:http'
import {createMcpHandler, McpServer} from '@modelcontextprotocol/server'
import {NodeStreamableHTTPServerTransport, toNodeHandler} from '@modelcontextprotocol/node'
import {Events, listen, tools} from './mcp-scenario.mjs'

const [control, revision] = process.argv.slice(2)
const sessionless = revision >= '2026-07-28'
const sessions = new Map()
const all = tools(control)
const extras = []

function build(announce) {
  const server = new McpServer({name: 'ts2', version: '1'}, sessionless ? {} : {supportedProtocolVersions: [revision]})
  for (const [name, run] of all) {
    server.registerTool(name, {}, async context => {
      const text = await run({
        progress: n => context.mcpReq.notify({
          method: 'notifications/progress',
          params: {progressToken: context.mcpReq._meta?.progressToken, progress: n, message: `step ${n}`},
        }),
        leave: () => context.http.closeSSE(),
        announce: extra => announce(server, extra),
      })
      return {content: [{type: 'text', text}]}
    })
  }
  for (const extra of extras) server.registerTool(extra, {}, () => ({content: []}))
  return server
}

async function begin() {
  const transport = new NodeStreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    eventStore: new Events(),
    retryInterval: 10,
    onsessioninitialized: id => sessions.set(id, transport),
    onsessionclosed: id => sessions.delete(id),
  })
  await build((server, extra) => server.registerTool(extra, {}, () => ({content: []}))).connect(transport)
  return transport
}

const handler = createMcpHandler(() => build((_, extra) => {
  extras.push(extra)
  handler.notify.toolsChanged()
}))
const modern = toNodeHandler(handler)

listen(createServer(async (req, res) => {
  if (sessionless) return modern(req, res)
  const id = req.headers['mcp-session-id']
  const transport = id ? sessions.get(id) : await begin()
  if (transport) return transport.handleRequest(req, res)
  res.writeHead(404).end()
}))
