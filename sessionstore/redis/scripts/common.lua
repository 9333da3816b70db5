-- What every script begins with. A session is a hash, KEYS[1]; the stream numbered
-- N has its log at ARGV[1] .. N, in the same slot. Of the hash's fields,
--   m          is the session's record,
--   u, a       the times of its last use and of its last sign of life, in milliseconds,
--   n          how many streams are live,
--   c<N>       what scripts need of a stream: "token:revision:live:expiry:line", where
--              expiry is when the newest record of its log expires, 0 without one,
--   b<N>, s<N> its birth and its state, and w<N> its window.
-- KEYS[2] is the greatest number of a stream that was fenced by being forgotten. It
-- outlives the session, or a writer that does not know yet would bring it back.
local key, gone, logs = KEYS[1], KEYS[2], ARGV[1]
local now, ttl = tonumber(ARGV[2]), tonumber(ARGV[3])

local function parse(c)
  local token, revision, live, expiry, line = string.match(c, '^(%d+):(%d+):(%d):(%d+):(.*)$')
  return {token = tonumber(token), revision = tonumber(revision), live = live == '1', expiry = tonumber(expiry), line = line}
end

local function control(number)
  local c = redis.call('HGET', key, 'c' .. number)
  return c and parse(c)
end

local function store_control(number, s)
  redis.call('HSET', key, 'c' .. number,
    string.format('%.0f:%.0f:%d:%.0f:', s.token, s.revision, s.live and 1 or 0, s.expiry) .. s.line)
end

-- streams lists the numbers of the session's streams, as they are in the fields.
local function streams()
  local numbers = {}
  for _, field in ipairs(redis.call('HKEYS', key)) do
    local n = string.match(field, '^c(%d+)$')
    if n then
      numbers[#numbers + 1] = n
    end
  end
  table.sort(numbers, function(a, b) return tonumber(a) < tonumber(b) end)
  return numbers
end

local function delete_stream(number)
  redis.call('HDEL', key, 'b' .. number, 'c' .. number, 's' .. number, 'w' .. number)
  redis.call('DEL', logs .. number)
end

local function drop_session()
  for _, n in ipairs(streams()) do
    redis.call('DEL', logs .. n)
  end
  redis.call('DEL', key)
end

local function fence(number)
  local floor = tonumber(redis.call('GET', gone) or '0')
  redis.call('SET', gone, string.format('%.0f', math.max(floor, tonumber(number))), 'PX', 2 * ttl)
end

-- used is when the session was used last, or nil if there is none; live is how many
-- of its streams are; seen is when a process last said that they are.
local function session()
  local v = redis.call('HMGET', key, 'u', 'n', 'a')
  return tonumber(v[1] or nil), tonumber(v[2] or '0'), tonumber(v[3] or '0')
end

local function expired(used, live, seen)
  return now - math.max(used, live > 0 and seen or 0) >= ttl
end
