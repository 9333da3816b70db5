// The scenario with version 1 of the TypeScript SDK, which always offers its newest
// revision: the server has to choose an older one.
import {Client} from '@modelcontextprotocol/sdk/client/index.js'
import {StreamableHTTPClientTransport} from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import {ToolListChangedNotificationSchema} from '@modelcontextprotocol/sdk/types.js'
import {play} from './mcp-scenario.mjs'

await play(async (url, revision, fetch, announced) => {
  const transport = new StreamableHTTPClientTransport(url, {fetch})
  const client = new Client({name: 'test', version: '1'})
  client.setNotificationHandler(ToolListChangedNotificationSchema, announced)
  await client.connect(transport)
  return {
    name: client.getServerVersion().name,
    revision: transport.protocolVersion,
    list: async () => (await client.listTools()).tools.map(t => t.name),
    call: async (name, onprogress) => {
      const result = await client.callTool({name, arguments: {}}, undefined, {onprogress})
      return result.content[0].text
    },
    session: () => transport.sessionId,
    close: async () => {
      await transport.terminateSession()
      await client.close()
    },
  }
})
