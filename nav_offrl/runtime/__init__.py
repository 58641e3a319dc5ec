"""What runs on the robot; imports neither torch nor rclpy."""
