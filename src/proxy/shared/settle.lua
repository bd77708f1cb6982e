-- A call is over: what it did use comes in the place of what it took. Of one whose lease is over, that was done already.
-- Answers what is spent.
local h, leases, lease = KEYS[1], KEYS[2], ARGV[1]
local taken, used, cost, tpm = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local held = redis.call('HGET', h, 'n:' .. lease)
if not held then return tonumber(redis.call('HGET', h, 'spent') or '0') end
redis.call('HDEL', h, 'n:' .. lease)
redis.call('ZREM', leases, lease)
local kept = redis.call('HMGET', h, 'reserved', 'spent', 'tokens')
redis.call('HSET', h, 'reserved', math.max(0, (tonumber(kept[1] or '0')) - tonumber(held)))
local spent = (tonumber(kept[2] or '0')) + cost
redis.call('HSET', h, 'spent', spent)
if kept[3] and tpm > 0 then
  local level = tonumber(kept[3]) + math.min(taken, tpm) - used
  redis.call('HSET', h, 'tokens', math.max(-10 * tpm, math.min(tpm, level)))
end
return spent
