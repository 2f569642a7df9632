"""Where the channels stand: graphs between channels first and channels last, with few Transposes."""
