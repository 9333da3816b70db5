-- Makes one Change. ARGV, after the common three: record, use, "1" if a stream was
-- claimed, "1" if streams are live here, the limits of streams on a line and in the
-- session; and then for each stream what read_change reads. It returns the number
-- of live streams before and after, whether the session is new, whether its sign of
-- life was old, the number of its newest stream if none is live, and then for each
-- stream 0 (applied), 1 (fenced) or 2 (missing).
local record, use = ARGV[4], ARGV[5]
local claimed, alive = ARGV[6] == '1', ARGV[7] == '1'
local per_line, per_session = tonumber(ARGV[8]), tonumber(ARGV[9])
local at = 9

local function read_change()
  local names = {'number', 'token', 'revision', 'live', 'expiry', 'line', 'birth', 'state', 'forget',
    'seen', 'over', 'window', 'batch', 'last', 'hole', 'oldest', 'log_ttl'}
  local c = {}
  for i, name in ipairs(names) do
    c[name] = ARGV[at + i]
  end
  at = at + #names
  return c
end

local used, live, seen = session()
if used and claimed and expired(used, live, seen) then
  drop_session()
  used, live, seen = nil, 0, 0
end
local before, new = live, not used
local floor = tonumber(redis.call('GET', gone) or '0')

-- push_out removes streams until there is room for one more that matches.
local function push_out(limit, line)
  local matching = {}
  for _, n in ipairs(streams()) do
    local s = control(n)
    if not line or s.line == line then
      matching[#matching + 1] = {number = n, live = s.live}
    end
  end
  while #matching >= limit do
    local victim = 1
    for i, s in ipairs(matching) do
      if not s.live then
        victim = i
        break
      end
    end
    local s = table.remove(matching, victim)
    if s.live then
      fence(s.number)
      live = live - 1
    end
    delete_stream(s.number)
  end
end

local function apply(c)
  local old = control(c.number)
  if not old then
    if tonumber(c.number) <= floor then
      return 1
    elseif c.birth == '' then
      return 2
    end
    push_out(per_line, c.line)
    push_out(per_session, nil)
    redis.call('HSET', key, 'b' .. c.number, c.birth)
  elseif old.token > tonumber(c.token) then
    return 1
  elseif old.token == tonumber(c.token) and c.birth ~= '' and c.birth ~= redis.call('HGET', key, 'b' .. c.number) then
    return 1 -- another process has begun a stream with this number
  elseif old.token == tonumber(c.token) and old.revision >= tonumber(c.revision) then
    return 0 -- the answer to it was lost
  end

  if c.forget ~= '0' then
    local s = control(c.forget)
    if s and not s.live and s.line == c.line and s.expiry <= now then
      delete_stream(c.forget)
    end
  end
  if c.over == '1' or c.seen ~= '' then
    local window = c.seen
    if c.over ~= '1' then
      window = (redis.call('HGET', key, 'w' .. c.number) or '') .. window
    end
    redis.call('HSET', key, 'w' .. c.number, string.sub(window, -tonumber(c.window)))
  end
  local log = logs .. c.number
  if c.hole == '1' then
    redis.call('DEL', log)
  end
  if c.batch ~= '' then
    redis.call('XADD', log, c.last .. '-0', 'b', c.batch)
    redis.call('PEXPIRE', log, c.log_ttl)
  end
  if c.oldest ~= '0' then
    redis.call('XTRIM', log, 'MINID', c.oldest .. '-0')
  end

  local s = {token = tonumber(c.token), revision = tonumber(c.revision), live = c.live == '1', expiry = tonumber(c.expiry), line = c.line}
  live = live + (s.live and 1 or 0) - ((old and old.live) and 1 or 0)
  redis.call('HSET', key, 's' .. c.number, c.state)
  store_control(c.number, s)
  return 0
end

local results, applied = {}, false
while at < #ARGV do
  local result = apply(read_change())
  applied = applied or result == 0
  results[#results + 1] = result
end

local stale = false
if applied or not new then
  if new then
    redis.call('HSET', key, 'm', record)
  end
  if new or tonumber(use) > used then
    redis.call('HSET', key, 'u', use)
  end
  if alive then
    stale = now - seen >= ttl / 8
    redis.call('HSET', key, 'a', string.format('%.0f', now))
  end
  redis.call('HSET', key, 'n', live)
  redis.call('PEXPIRE', key, 2 * ttl)
end
local newest = '0'
if live == 0 then
  local all = streams()
  newest = all[#all] or '0'
end
return {before, live, (new and applied) and 1 or 0, stale and 1 or 0, newest, unpack(results)}
