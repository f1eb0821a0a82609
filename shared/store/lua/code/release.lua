-- Release the hold on a code, because the password was not changed. KEYS u   ARGV hold_token
if redis.call('HGET', KEYS[1], 'h') ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[1], 'h', 'hx')
return 1
