# The ROS wheels' rosidl_generator_py targets export an include folder that the wheels leave out, at which CMake stops. Passed as
# CMAKE_PROJECT_INCLUDE, this takes such folders off the imported targets when the project's CMakeLists.txt is done. On a real ROS
# installation nothing is missing and nothing changes.

function(drop_missing_includes)
  get_property(imported DIRECTORY "${CMAKE_SOURCE_DIR}" PROPERTY IMPORTED_TARGETS)
  list(FILTER imported INCLUDE REGEX "__rosidl_generator_py$")
  foreach(target IN LISTS imported)
    get_target_property(folders ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(NOT folders)
      continue()
    endif()
    set(present "")
    foreach(folder IN LISTS folders)
      if(folder MATCHES "^\\$<" OR IS_DIRECTORY "${folder}")
        list(APPEND present "${folder}")
      endif()
    endforeach()
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${present}")
  endforeach()
endfunction()

cmake_language(DEFER DIRECTORY "${CMAKE_SOURCE_DIR}" CALL drop_missing_includes)
