-- Decides what calls of one key ask for, in their order, and takes what others tell of theirs: all that came together in one go.
-- Six words for each: what, its lease, a, b, c, d.
--   ask   a tokens, b nano-dollars: let in by all that limits the key, or nothing is taken
--   take  the same of a call that its gateway let in alone: taken in any case, once
--   end   a tokens taken, b tokens used, c its cost, d when what held its lease was made: the real numbers in the estimates' place
--   back  a tokens taken: it never was made
--   hold  it is still under way
-- Answers: requests and tokens left, money spent and reserved, calls under way, when this was made; then for each what came of
-- it (0 it is in; else the limit: 1 requests, 2 tokens, 3 at once, 4 the budget is spent, 5 it is reserved), microseconds to wait, and
-- requests and tokens left then.
local h, leases = KEYS[1], KEYS[2]
local rpm, tpm, at_once, budget = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local window, known, ttl = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[10])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local kept = redis.call('HMGET', h, 'requests', 'requests_at', 'rpm', 'tokens', 'tokens_at', 'tpm', 'window', 'spent', 'reserved', 'made')
local function number(value) return value and tonumber(value) or nil end

-- What a bucket of a minute's worth holds now; a clock that was set back gives nothing.
local function level(at, cap)
  if cap == 0 then return nil end
  local was, since, old = number(kept[at]), number(kept[at + 1]), number(kept[at + 2])
  if not was or not since then return cap end
  return math.min(cap, was + cap - (old or cap) + math.max(0, now - since) * cap / 60000000)
end
local function within(have, cap) return math.max(-10 * cap, math.min(cap, have)) end
local function wait_for(have, need, cap)
  if not have or have >= need then return 0 end
  return math.ceil((need - have) / cap * 60000000)
end
local function left(have) return math.floor(math.max(0, have or 0)) end

-- The same rule as each gateway's own: a clock set back by less than a window begins nothing anew.
local spent, reserved, was, made = number(kept[8]) or 0, number(kept[9]) or 0, number(kept[7]), number(kept[10]) or now
if was and window > was then
  spent = 0
elseif was and window + 1 >= was then
  window = was
end
-- What gateways were told, should this have been emptied, and what they used while they couldn't tell.
spent = math.max(spent, known) + tonumber(ARGV[7])
local r, t = level(1, rpm), level(4, tpm)
r, t = r and within(r - tonumber(ARGV[8]), rpm), t and within(t - tonumber(ARGV[9]), tpm)
local count = redis.call('ZCARD', leases)
local function let_go(lease, held)
  redis.call('HDEL', h, 'n:' .. lease)
  redis.call('ZREM', leases, lease)
  reserved, count = math.max(0, reserved - held), count - 1
end
-- A gateway that died: what its calls had reserved stands.
for _, lease in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now)) do
  local held = number(redis.call('HGET', h, 'n:' .. lease)) or 0
  let_go(lease, held)
  spent = spent + held
end

-- Without a lease nothing is reserved, whatever was lost.
if count == 0 then reserved = 0 end

local function judge(tokens, nanos)
  if budget > 0 and (spent + nanos > budget or spent >= budget) then return 4, 0 end
  if budget > 0 and spent + reserved + nanos > budget then return 5, 1000000 end
  local for_requests, for_tokens = wait_for(r, 1, rpm), wait_for(t, tokens, tpm)
  if for_requests > 0 or for_tokens > 0 then
    return for_requests >= for_tokens and 1 or 2, math.max(for_requests, for_tokens)
  end
  if at_once > 0 and count >= at_once then return 3, 1000000 end
  return 0, 0
end

local answers = {}
for i = 11, #ARGV, 6 do
  local what, lease, a, b = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
  local held, code, wait = number(redis.call('HGET', h, 'n:' .. lease)), 0, 0
  if what == 'ask' or what == 'take' then
    local tokens = math.min(a, tpm)
    if not held and what == 'ask' then code, wait = judge(tokens, b) end
    if not held and code == 0 then
      r, t = r and within(r - 1, rpm), t and within(t - tokens, tpm)
      reserved, count = reserved + b, count + 1
      redis.call('ZADD', leases, now + ttl, lease)
      redis.call('HSET', h, 'n:' .. lease, b)
    end
  elseif what == 'end' then
    local cost = tonumber(ARGV[i + 4])
    if held then
      let_go(lease, held)
      spent, t = spent + cost, t and within(t + math.min(a, tpm) - b, tpm)
    elseif tonumber(ARGV[i + 5]) ~= made then
      -- What held its lease is gone. Of one whose lease was over it counts already.
      spent = spent + cost
    end
  elseif what == 'back' and held then
    let_go(lease, held)
    r, t = r and within(r + 1, rpm), t and within(t + math.min(a, tpm), tpm)
  elseif what == 'hold' then
    redis.call('ZADD', leases, 'XX', now + ttl, lease)
  end
  answers[#answers + 1], answers[#answers + 2], answers[#answers + 3], answers[#answers + 4] = code, wait, left(r), left(t)
end

redis.call('HSET', h, 'window', window, 'spent', spent, 'reserved', reserved, 'made', made)
if r then redis.call('HSET', h, 'requests', r, 'requests_at', now, 'rpm', rpm) end
if t then redis.call('HSET', h, 'tokens', t, 'tokens_at', now, 'tpm', tpm) end
for _, key in ipairs(KEYS) do
  if budget > 0 then redis.call('PERSIST', key) else redis.call('EXPIRE', key, 3600) end
end
return { left(r), left(t), spent, reserved, count, made, unpack(answers) }
