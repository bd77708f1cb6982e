-- Lets a call in by all that limits its key, or takes nothing. Answers: what came of it (0 it is in; else the limit: 1 requests,
-- 2 tokens, 3 at once, 4 the budget is spent, 5 it is reserved), microseconds to wait, requests and tokens left, money spent.
local h, leases = KEYS[1], KEYS[2]
local rpm, tpm, at_once, budget = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local window, known, more = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local tokens, nanos, lease, ttl = tonumber(ARGV[8]), tonumber(ARGV[9]), ARGV[10], tonumber(ARGV[11])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local kept = redis.call('HMGET', h, 'requests', 'requests_at', 'rpm', 'tokens', 'tokens_at', 'tpm', 'window', 'spent', 'reserved')
local function number(value) return value and tonumber(value) or nil end

-- What a bucket of a minute's worth holds now; a clock that was set back gives nothing.
local function level(at, cap)
  if cap == 0 then return nil end
  local was, since, old = number(kept[at]), number(kept[at + 1]), number(kept[at + 2])
  if not was or not since then return cap end
  return math.min(cap, was + cap - (old or cap) + math.max(0, now - since) * cap / 60000000)
end
local function wait_for(have, need, cap)
  if not have or have >= need then return 0 end
  return math.ceil((need - have) / cap * 60000000)
end

-- The same rule as each gateway's own: a clock set back by less than a window begins nothing anew.
local spent, reserved, was = number(kept[8]) or 0, number(kept[9]) or 0, number(kept[7])
if was and window > was then
  spent = 0
elseif was and window + 1 >= was then
  window = was
end
-- What gateways were told, should this have been emptied, and what they spent while they couldn't tell.
spent = math.max(spent, known) + more
-- A gateway that died: what its calls had reserved stands.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now)) do
  local held = number(redis.call('HGET', h, 'n:' .. id)) or 0
  redis.call('HDEL', h, 'n:' .. id)
  redis.call('ZREM', leases, id)
  reserved, spent = math.max(0, reserved - held), spent + held
end

local r, t = level(1, rpm), level(4, tpm)
tokens = math.min(tokens, tpm)
local code, wait = 0, 0
if budget > 0 and (spent + nanos > budget or spent >= budget) then
  code = 4
elseif budget > 0 and spent + reserved + nanos > budget then
  code, wait = 5, 1000000
else
  local for_requests, for_tokens = wait_for(r, 1, rpm), wait_for(t, tokens, tpm)
  if for_requests > 0 or for_tokens > 0 then
    wait = math.max(for_requests, for_tokens)
    code = for_requests >= for_tokens and 1 or 2
  elseif at_once > 0 and redis.call('ZCARD', leases) >= at_once then
    code, wait = 3, 1000000
  end
end
if code == 0 then
  r, t = r and r - 1, t and t - tokens
  reserved = reserved + nanos
  redis.call('ZADD', leases, now + ttl, lease)
  redis.call('HSET', h, 'n:' .. lease, nanos)
end
redis.call('HSET', h, 'window', window, 'spent', spent, 'reserved', reserved)
if r then redis.call('HSET', h, 'requests', r, 'requests_at', now, 'rpm', rpm) end
if t then redis.call('HSET', h, 'tokens', t, 'tokens_at', now, 'tpm', tpm) end
if budget > 0 then
  redis.call('PERSIST', h)
else
  redis.call('EXPIRE', h, 3600)
end
redis.call('EXPIRE', leases, 3600)
return { code, wait, math.floor(math.max(0, r or 0)), math.floor(math.max(0, t or 0)), spent }
