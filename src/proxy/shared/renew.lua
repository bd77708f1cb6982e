-- A call is still under way.
local time = redis.call('TIME')
-- A hash without a term keeps none: it has a budget.
redis.call('EXPIRE', KEYS[1], 3600, 'XX')
redis.call('EXPIRE', KEYS[2], 3600)
return redis.call('ZADD', KEYS[2], 'XX', tonumber(time[1]) * 1000000 + tonumber(time[2]) + tonumber(ARGV[2]), ARGV[1])
