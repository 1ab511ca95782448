export DIB_INSTALLTYPE_trove_guest_agent=${DIB_INSTALLTYPE_trove_guest_agent:-package}
export DIB_TROVE_VERSION=${DIB_TROVE_VERSION:-23.0.0}
export DIB_TROVE_CONSTRAINTS=${DIB_TROVE_CONSTRAINTS:-constraints-2025.1.txt}
