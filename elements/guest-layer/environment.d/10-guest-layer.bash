export DISTRO_NAME=${DIB_GUEST_LAYER_OS:?the builder names the distribution of the kept guest}
export DIB_INIT_SYSTEM=${DIB_INIT_SYSTEM:-systemd}
export EFI_BOOT_DIR=EFI/$DISTRO_NAME
# The guest has its GRUB already.
export DIB_SKIP_GRUB_PACKAGE_INSTALL=${DIB_SKIP_GRUB_PACKAGE_INSTALL:-True}
