-- Keep a forgotten password's request until a worker looks it up, within the budgets of its source
-- and of its identifier. The steps are the same whether the identifier is anybody's.
-- KEYS requests source identifier solution
-- ARGV sealed most_waiting solution_ms then name limit window_ms amount of the source, and of the identifier
-- {'ok'} | {'limited', name, wait_ms} | {'full'} | {'used'}        solution_ms 0: no captcha
if ARGV[3] ~= '0' and redis.call('EXISTS', KEYS[4]) == 1 then return {'used'} end
local limited = count_call({KEYS[2]}, 1, 1, ARGV, 4)
if limited then return limited end
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return {'full'} end
if ARGV[3] ~= '0' then redis.call('SET', KEYS[4], 1, 'PX', ARGV[3]) end
if not count_call({KEYS[3]}, 1, 1, ARGV, 8) then
  local now = int(math.floor(now_us() / 1000))
  redis.call('ZADD', KEYS[1], now, now .. ':' .. ARGV[1])
end
return {'ok'}
