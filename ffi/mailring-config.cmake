# find_package(mailring) gives mailring::mailring (the shared library) and mailring::static.
get_filename_component(_mailring_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)

if(NOT TARGET mailring::mailring)
    add_library(mailring::mailring SHARED IMPORTED)
    set_target_properties(mailring::mailring PROPERTIES
        IMPORTED_LOCATION "${_mailring_prefix}/lib/libmailring.so.0"
        IMPORTED_SONAME "libmailring.so.0"
        INTERFACE_INCLUDE_DIRECTORIES "${_mailring_prefix}/include")
    add_library(mailring::static STATIC IMPORTED)
    set_target_properties(mailring::static PROPERTIES
        IMPORTED_LOCATION "${_mailring_prefix}/lib/libmailring.a"
        INTERFACE_INCLUDE_DIRECTORIES "${_mailring_prefix}/include"
        INTERFACE_LINK_LIBRARIES "gcc_s;util;rt;pthread;m;dl")
endif()
unset(_mailring_prefix)
