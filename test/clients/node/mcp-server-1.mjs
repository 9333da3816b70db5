// The tools of the scenario on version 1 of the TypeScript SDK.
import {randomUUID} from 'node:crypto'
import {createServer} from 'node:http'
import {McpServer} from '@modelcontextprotocol/sdk/server/mcp.js'
import {StreamableHTTPServerTransport} from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import {Events, listen, tools} from './mcp-scenario.mjs'

const [control] = process.argv.slice(2)
const sessions = new Map()

async function begin() {
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    eventStore: new Events(),
    retryInterval: 10,
    onsessioninitialized: id => sessions.set(id, transport),
    onsessionclosed: id => sessions.delete(id),
  })
  const server = new McpServer({name: 'ts1', version: '1'})
  for (const [name, run] of tools(control)) {
    server.registerTool(name, {}, async extra => {
      const text = await run({
        progress: n => extra.sendNotification({
          method: 'notifications/progress',
          params: {progressToken: extra._meta?.progressToken, progress: n, message: `step ${n}`},
        }),
        leave: () => extra.closeSSEStream(),
        announce: extraTool => server.registerTool(extraTool, {}, () => ({content: []})),
      })
      return {content: [{type: 'text', text}]}
    })
  }
  await server.connect(transport)
  return transport
}

listen(createServer(async (req, res) => {
  const id = req.headers['mcp-session-id']
  const transport = id ? sessions.get(id) : await begin()
  if (transport) return transport.handleRequest(req, res)
  res.writeHead(404).end()
}))
