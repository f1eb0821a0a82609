-- List what is known of a user's last codes. KEYS u   ARGV tag
return known_codes(KEYS[1], ARGV[1], math.floor(now_us() / 1000))
