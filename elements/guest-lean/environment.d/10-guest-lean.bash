# mmdebstrap writes these into the image's own dpkg.cfg.d, so one place serves bootstrap and later installs.
lean=" --dpkgopt=path-exclude=/usr/share/man/*"
lean+=" --dpkgopt=path-exclude=/usr/share/info/*"
lean+=" --dpkgopt=path-exclude=/usr/share/locale/*"
lean+=" --dpkgopt=path-exclude=/usr/share/doc/*"
lean+=" --dpkgopt=path-include=/usr/share/doc/*/copyright"
export DIB_MMDEBSTRAP_EXTRA_ARGS="${DIB_MMDEBSTRAP_EXTRA_ARGS:-}${lean}"
unset lean
